import { packageBuild } from '@pgq/config/tsup'

export default packageBuild({
  entries: { prometheus: 'src/prometheus.ts', opentelemetry: 'src/opentelemetry.ts' },
})
