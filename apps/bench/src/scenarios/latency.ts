import type { Stage } from '../stage.js'
import type { Column, Measurement, Scenario } from './scenario.js'

const EVERY_MS = 20
const BACKLOG = 300_000

const columns: readonly Column[] = [
  { key: 'p50', title: 'p50 ms', digits: 2 },
  { key: 'p99', title: 'p99 ms', digits: 2 },
  { key: 'max', title: 'max ms', digits: 2 },
]

/** From the call of enqueue to the start of the handler. */
export const latency: readonly Scenario[] = [
  {
    name: 'latency/idle',
    title: `One job every ${EVERY_MS} ms to an idle worker: from the call to the start of its handler`,
    systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-notify', 'bullmq', 'bullmq-postgres', 'sql-notify'],
    columns,
    run: (stage, scale) => idle(stage, Math.ceil(500 * scale)),
  },
  {
    name: 'latency/urgent',
    title: `A job of a higher priority every ${EVERY_MS} ms, while a worker drains ${BACKLOG.toLocaleString('en')} others`,
    systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-loop'],
    columns,
    run: (stage, scale) => urgent(stage, Math.ceil(BACKLOG * scale), Math.ceil(50 * scale)),
  },
]

async function idle(stage: Stage, jobs: number): Promise<Measurement> {
  const [worker] = await stage.workers(1)
  const producer = await stage.process()
  await producer.call('enqueueEvery', { everyMs: EVERY_MS, jobs: Math.ceil(jobs / 5) })
  await stage.finished()
  await worker!.call('forget')
  await producer.call('enqueueEvery', { everyMs: EVERY_MS, jobs })
  await stage.finished()
  return worker!.call('latencies')
}

async function urgent(stage: Stage, backlog: number, jobs: number): Promise<Measurement> {
  await stage.assistant.call('fill', { jobs: backlog })
  await stage.analyze()
  const [worker] = await stage.workers(1)
  const producer = await stage.process()
  await stage.tickAt(worker!, 1)
  await producer.call('enqueueEvery', { everyMs: EVERY_MS, jobs, priority: 1 })
  await worker!.call('heard', { jobs })
  return worker!.call('latencies')
}
