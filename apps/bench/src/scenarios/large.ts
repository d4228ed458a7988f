import { measureDrain } from './drain.js'
import { measureEnqueue } from './enqueue.js'
import { COSTS, RATE, type Scenario } from './scenario.js'

const ARGS_BYTES = 10_000

/** Args of 10 KB instead of 100 bytes. */
export const large: readonly Scenario[] = [
  {
    name: 'large/enqueue',
    title: 'Args of 10 KB: enqueue one by one, 10 calls in flight',
    systems: ['pgq', 'graphile', 'pg-boss', 'bullmq', 'bullmq-postgres', 'sql'],
    columns: [RATE, ...COSTS],
    run: (stage, scale) => measureEnqueue(stage, { inFlight: 10, durationMs: 4_000 * scale, argsBytes: ARGS_BYTES }),
  },
  {
    name: 'large/drain',
    title: 'Args of 10 KB: drain 10,000 jobs',
    systems: ['pgq', 'graphile-tuned', 'pg-boss-loop', 'bullmq', 'bullmq-postgres', 'sql'],
    columns: [RATE, ...COSTS],
    run: (stage, scale) =>
      measureDrain(stage, { jobs: Math.ceil(10_000 * scale), processes: 1, chunk: 500, argsBytes: ARGS_BYTES }),
  },
]
