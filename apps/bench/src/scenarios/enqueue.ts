import type { Stage } from '../stage.js'
import { COSTS, costs, type Measurement, RATE, type Scenario } from './scenario.js'

/** How fast single calls are durable, with so many of them in flight. */
export const enqueue: readonly Scenario[] = [1, 10, 50].map((inFlight) => ({
  name: `enqueue/${inFlight}`,
  title: `Enqueue one by one, ${inFlight} ${inFlight === 1 ? 'call' : 'calls'} in flight`,
  systems: ['pgq', 'graphile', 'pg-boss', 'bullmq', 'bullmq-postgres', 'sql'],
  columns: [
    RATE,
    { key: 'p50', title: 'call p50 ms', digits: 2 },
    { key: 'p99', title: 'call p99 ms', digits: 2 },
    ...COSTS,
  ],
  run: (stage, scale) => measure(stage, inFlight, 4_000 * scale),
}))

async function measure(stage: Stage, inFlight: number, durationMs: number): Promise<Measurement> {
  const producer = await stage.process()
  await producer.call('enqueueFor', { durationMs: durationMs / 4, inFlight })
  const begin = await stage.sample([producer])
  const { jobs, ms, cpuUs, p50, p99 } = await producer.call('enqueueFor', { durationMs, inFlight })
  const end = await stage.sample([producer])
  return { rate: (jobs / ms) * 1_000, p50, p99, ...costs(begin, end, jobs), ourCpu: cpuUs / jobs }
}
