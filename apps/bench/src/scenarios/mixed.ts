import type { Tick } from '../load.js'
import type { LoadHandle } from '../load-process.js'
import type { Stage } from '../stage.js'
import { percentiles } from '../statistics.js'
import { COSTS, costs, type Measurement, type Scenario } from './scenario.js'

const CALLERS = 20

/** Enqueueing and working at the same time, as long as one likes. */
export const mixed: readonly Scenario[] = [
  {
    name: 'mixed',
    title: `${CALLERS} callers enqueue and one worker works, 20 s`,
    systems: ['pgq', 'graphile', 'graphile-tuned', 'pg-boss-notify', 'bullmq', 'bullmq-postgres'],
    columns: [
      { key: 'rate', title: 'worked off/s' },
      { key: 'enqueued', title: 'enqueued/s' },
      { key: 'behind', title: 'most behind, jobs' },
      { key: 'behindP99', title: 'behind 99 % of the time, at most' },
      ...COSTS,
    ],
    run: (stage, scale) => measure(stage, 20_000 * scale),
  },
]

async function measure(stage: Stage, durationMs: number): Promise<Measurement> {
  const [worker] = await stage.workers(1)
  const producer = await stage.process()
  await producer.call('enqueueFor', { durationMs: durationMs / 10, inFlight: CALLERS })
  const [enqueues, works] = [record(producer), record(worker!)]
  const begin = await stage.sample([producer, worker!])
  await producer.call('enqueueFor', { durationMs, inFlight: CALLERS })
  const end = await stage.sample([producer, worker!])
  const [done, ms] = [end.runs - begin.runs, end.at - begin.at]
  const behind = percentiles(enqueues.map(({ at, enqueued }) => enqueued - runsAt(works, at)))
  return {
    rate: (done / ms) * 1_000,
    enqueued: ((end.enqueued - begin.enqueued) / ms) * 1_000,
    behind: behind.max,
    behindP99: behind.p99,
    ...costs(begin, end, 'runs'),
  }
}

function record(process: LoadHandle): Tick[] {
  const ticks = [process.last]
  process.on('tick', (tick) => ticks.push(tick))
  return ticks
}

/** The two processes do not tick at the same moments: how many runs there were at one, on the line between two ticks. */
function runsAt(ticks: readonly Tick[], at: number): number {
  const next = ticks.findIndex((tick) => tick.at >= at)
  if (next <= 0) return ticks.at(next)!.runs
  const [before, after] = [ticks[next - 1]!, ticks[next]!]
  return before.runs + ((after.runs - before.runs) * (at - before.at)) / (after.at - before.at)
}
