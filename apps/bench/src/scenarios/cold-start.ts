import { now } from '../clock.js'
import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

/** How long a new process takes to begin with a job that waits for it. */
export const coldStart: readonly Scenario[] = [
  {
    name: 'cold-start',
    title: 'From the start of a process to the start of its first handler, a job waiting',
    systems: ['pgq', 'graphile', 'pg-boss', 'pg-boss-notify', 'bullmq', 'bullmq-postgres', 'sql'],
    columns: [
      { key: 'ms', title: 'ms' },
      { key: 'cpu', title: 'our CPU ms' },
    ],
    run: measure,
  },
]

async function measure(stage: Stage): Promise<Measurement> {
  await stage.assistant.call('fill', { jobs: 1 })
  const start = now()
  const [worker] = await stage.workers(1, { marks: [1] })
  const { at, cpuUs } = await stage.tickAt(worker!, 1)
  return { ms: at - start, cpu: cpuUs / 1_000 }
}
