import type { Stage } from '../stage.js'
import { COSTS, costs, type Measurement, RATE, type Scenario } from './scenario.js'

/** One call that enqueues 100,000 jobs. */
export const bulk: readonly Scenario[] = [
  {
    name: 'bulk',
    title: 'Enqueue 100,000 jobs in one call',
    systems: ['pgq', 'graphile', 'pg-boss', 'bullmq', 'bullmq-postgres', 'sql'],
    columns: [RATE, ...COSTS],
    run: (stage, scale) => measure(stage, Math.round(100_000 * scale)),
  },
]

async function measure(stage: Stage, jobs: number): Promise<Measurement> {
  const producer = await stage.process()
  await producer.call('fill', { jobs: Math.ceil(jobs / 10), chunk: jobs })
  const begin = await stage.sample([producer])
  const ms = await producer.call('fill', { jobs, chunk: jobs })
  const end = await stage.sample([producer])
  return { rate: (jobs / ms) * 1_000, ...costs(begin, end, 'enqueued') }
}
