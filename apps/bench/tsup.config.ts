import { packageBuild } from '@pgq/config/tsup'

// Only what runs in the measured processes: plain JavaScript over the built packages, as users have them.
export default packageBuild({ entries: { index: 'src/load-program.ts' }, format: ['esm'], dts: false })
