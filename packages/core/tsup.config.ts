import { packageBuild } from '@pgq/config/tsup'

export default packageBuild({ entries: { adapters: 'src/adapters.ts' }, builtIn: ['kysely'] })
