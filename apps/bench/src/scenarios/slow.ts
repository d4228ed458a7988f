import type { Stage } from '../stage.js'
import { type Measurement, RATE, type Scenario } from './scenario.js'

const MEASURED_MS = 4_000
const WARM_UP_MS = 1_000

const sleeping = (sleepMs: number, concurrency: number): Scenario => ({
  name: `slow/${sleepMs}-ms-${concurrency}`,
  title: `Handlers that wait ${sleepMs} ms, ${concurrency} at a time: at best ${(concurrency / sleepMs) * 1_000} jobs/s`,
  systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-notify', 'bullmq', 'bullmq-postgres'],
  columns: [RATE, { key: 'share', title: 'of the best, %' }, { key: 'ourCpu', title: 'our CPU µs/job', digits: 1 }],
  run: (stage, scale) => measure(stage, sleepMs, concurrency, scale),
})

/** Whether slow handlers are kept as busy as they could be. */
export const slow: readonly Scenario[] = [sleeping(10, 10), sleeping(10, 100), sleeping(50, 10), sleeping(50, 100)]

async function measure(stage: Stage, sleepMs: number, concurrency: number, scale: number): Promise<Measurement> {
  const best = concurrency / sleepMs
  const measured = Math.ceil(Math.max(best * MEASURED_MS * scale, concurrency * 2))
  const warmUp = Math.ceil(best * WARM_UP_MS * scale)
  await stage.assistant.call('fill', { jobs: warmUp + measured * 2 })
  const workers = await stage.workers(1, { work: { sleepMs }, concurrency, marks: [warmUp, warmUp + measured] })
  const begin = await stage.tickAt(workers[0]!, warmUp)
  const end = await stage.tickAt(workers[0]!, warmUp + measured)
  const [jobs, ms] = [end.runs - begin.runs, end.at - begin.at]
  return { rate: (jobs / ms) * 1_000, share: (jobs / ms / best) * 100, ourCpu: (end.cpuUs - begin.cpuUs) / jobs }
}
