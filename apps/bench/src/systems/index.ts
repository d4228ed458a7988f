import type { System } from './system.js'

interface Entry {
  /** The npm package whose version counts. */
  readonly package?: string
  readonly store: 'postgres' | 'redis'
  /** A program that must be installed on the machine. */
  readonly program?: string
  /** What only the statement that claims has in it. */
  readonly claims?: string
  load(): Promise<System>
}

/** Every system, by the name that --systems knows. Loaded when needed: the packages of the others stay out of its process. */
export const systems = {
  pgq: {
    package: '@pgq/worker',
    claims: '%as claimer%',
    store: 'postgres',
    load: () => import('./pgq.js').then(({ pgq }) => pgq),
  },
  'pgq-prometheus': {
    package: '@pgq/telemetry',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ pgqPrometheus }) => pgqPrometheus),
  },
  'pgq-traces': {
    package: '@pgq/telemetry',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ pgqTraces }) => pgqTraces),
  },
  'pgq-sampled-traces': {
    package: '@pgq/telemetry',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ pgqSampledTraces }) => pgqSampledTraces),
  },
  'sdk-traces': {
    package: '@opentelemetry/sdk-trace-node',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ sdkTraces }) => sdkTraces),
  },
  'sdk-sampled-traces': {
    package: '@opentelemetry/sdk-trace-node',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ sdkSampledTraces }) => sdkSampledTraces),
  },
  'sdk-context': {
    package: '@opentelemetry/sdk-trace-node',
    store: 'postgres',
    load: () => import('./pgq-telemetry.js').then(({ sdkContext }) => sdkContext),
  },
  'pgq-grouped': {
    package: '@pgq/worker',
    store: 'postgres',
    load: () => import('./pgq.js').then(({ pgqGrouped }) => pgqGrouped),
  },
  graphile: {
    package: 'graphile-worker',
    claims: '%skip locked%',
    store: 'postgres',
    load: () => import('./graphile.js').then(({ graphile }) => graphile),
  },
  'graphile-tuned': {
    package: 'graphile-worker',
    claims: '%skip locked%',
    store: 'postgres',
    load: () => import('./graphile.js').then(({ graphileTuned }) => graphileTuned),
  },
  'pg-boss': {
    package: 'pg-boss',
    claims: '%skip locked%',
    store: 'postgres',
    load: () => import('./pg-boss.js').then(({ pgBoss }) => pgBoss),
  },
  'pg-boss-notify': {
    package: 'pg-boss',
    claims: '%skip locked%',
    store: 'postgres',
    load: () => import('./pg-boss.js').then(({ pgBossNotify }) => pgBossNotify),
  },
  'pg-boss-loop': {
    package: 'pg-boss',
    claims: '%skip locked%',
    store: 'postgres',
    load: () => import('./pg-boss.js').then(({ pgBossLoop }) => pgBossLoop),
  },
  bullmq: {
    package: 'bullmq',
    store: 'redis',
    program: 'redis-server',
    load: () => import('./bullmq.js').then(({ bullmq }) => bullmq),
  },
  'bullmq-postgres': {
    package: 'bullmq',
    store: 'postgres',
    load: () => import('./bullmq.js').then(({ bullmqPostgres }) => bullmqPostgres),
  },
  sql: {
    store: 'postgres',
    load: () => import('./hand-written.js').then(({ handWritten }) => handWritten),
  },
  'sql-update': {
    store: 'postgres',
    load: () => import('./hand-written.js').then(({ handWrittenUpdate }) => handWrittenUpdate),
  },
  'sql-notify': {
    store: 'postgres',
    load: () => import('./hand-written.js').then(({ handWrittenNotify }) => handWrittenNotify),
  },
  'sql-grouped': {
    store: 'postgres',
    load: () => import('./hand-written.js').then(({ handWrittenGrouped }) => handWrittenGrouped),
  },
  pgbench: {
    store: 'postgres',
    program: 'pgbench',
    load: () => import('./pgbench.js').then(({ pgbench }) => pgbench),
  },
} as const satisfies Record<string, Entry>

export type SystemName = keyof typeof systems

export const systemNames = Object.keys(systems) as SystemName[]

export const systemEntry = (name: SystemName): Entry => systems[name]
