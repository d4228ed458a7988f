import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

const EVERY_MS = 20

/** From the call of enqueue to the start of the handler, when the worker has nothing else to do. */
export const latency: readonly Scenario[] = [
  {
    name: 'latency',
    title: `One job every ${EVERY_MS} ms to an idle worker: from the call to the start of its handler`,
    systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-notify', 'bullmq', 'bullmq-postgres'],
    columns: [
      { key: 'p50', title: 'p50 ms', digits: 2 },
      { key: 'p99', title: 'p99 ms', digits: 2 },
      { key: 'max', title: 'max ms', digits: 2 },
    ],
    run: (stage, scale) => measure(stage, Math.ceil(500 * scale)),
  },
]

async function measure(stage: Stage, jobs: number): Promise<Measurement> {
  const [worker] = await stage.workers(1)
  const producer = await stage.process()
  await producer.call('enqueueEvery', { everyMs: EVERY_MS, jobs: Math.ceil(jobs / 5) })
  await stage.finished()
  await worker!.call('forget')
  await producer.call('enqueueEvery', { everyMs: EVERY_MS, jobs })
  await stage.finished()
  return worker!.call('latencies')
}
