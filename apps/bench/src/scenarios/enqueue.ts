import type { EnqueueOrder } from '../load.js'
import type { Stage } from '../stage.js'
import { COSTS, type Column, costs, type Measurement, RATE, type Scenario } from './scenario.js'

const columns: readonly Column[] = [
  RATE,
  { key: 'p50', title: 'call p50 ms', digits: 2 },
  { key: 'p99', title: 'call p99 ms', digits: 2 },
  ...COSTS,
]

const inFlight = (calls: number): Scenario => ({
  name: `enqueue/${calls}`,
  title: `Enqueue one by one, ${calls} ${calls === 1 ? 'call' : 'calls'} in flight`,
  systems: ['pgq', 'graphile', 'pg-boss', 'bullmq', 'bullmq-postgres', 'sql', 'sql-grouped', 'pgbench'],
  columns,
  run: (stage, scale) => measureEnqueue(stage, { inFlight: calls, durationMs: 4_000 * scale }),
})

/** Single calls, durable when they resolve: alone, in company, and with somebody to wake. */
export const enqueue: readonly Scenario[] = [
  inFlight(1),
  inFlight(10),
  inFlight(50),
  {
    name: 'enqueue/50-waking',
    title: 'The same, 50 calls in flight, with somebody to wake at each of them who stays idle',
    systems: ['pgq', 'graphile', 'pg-boss-notify', 'sql-notify'],
    columns: [...columns, { key: 'wakes', title: 'wakes/s' }],
    async run(stage, scale) {
      const listener = await stage.process()
      await listener.call('listen')
      const figures = await measureEnqueue(stage, { inFlight: 50, durationMs: 4_000 * scale })
      return { ...figures, wakes: (listener.last.runs / (5_000 * scale)) * 1_000 }
    },
  },
  {
    name: 'enqueue/50-worker',
    title: 'The same, 50 calls in flight, with an idle worker that wakes and works',
    systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-notify', 'bullmq', 'bullmq-postgres'],
    columns: [...columns, { key: 'worked', title: 'worked off/s' }],
    async run(stage, scale) {
      const [worker] = await stage.workers(1)
      const begin = worker!.last
      const figures = await measureEnqueue(stage, { inFlight: 50, durationMs: 4_000 * scale })
      const end = worker!.last
      return { ...figures, worked: ((end.runs - begin.runs) / (end.at - begin.at)) * 1_000 }
    },
  },
]

/** The first fourth of the time again, before it counts, warms up. */
export async function measureEnqueue(stage: Stage, order: EnqueueOrder): Promise<Measurement> {
  const producer = await stage.process()
  await producer.call('enqueueFor', { ...order, durationMs: order.durationMs / 4 })
  const begin = await stage.sample([producer])
  const { jobs, ms, cpuUs, p50, p99 } = await producer.call('enqueueFor', order)
  const end = await stage.sample([producer])
  const ourCpu = cpuUs === undefined ? undefined : cpuUs / jobs
  return { rate: (jobs / ms) * 1_000, p50, p99, ...costs(begin, end, 'enqueued'), ourCpu }
}
