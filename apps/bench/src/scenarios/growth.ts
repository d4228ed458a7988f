import type { FillOrder } from '../load.js'
import type { Stage } from '../stage.js'
import { COSTS, costs, type Measurement, RATE, type Scenario } from './scenario.js'

const JOBS = 20_000

const growing = (name: string, title: string, behind: Partial<FillOrder> | undefined, fill: FillOrder): Scenario => ({
  name: `growth/${name}`,
  title: `Drain ${JOBS.toLocaleString('en')} jobs ${title}`,
  systems: ['pgq', 'graphile-tuned', 'pg-boss-loop', 'sql'],
  columns: [RATE, ...COSTS],
  run: (stage, scale) => measure(stage, scale, behind, fill),
})

/** Whether the size of the table, or what stands in it, slows a worker down. */
export const growth: readonly Scenario[] = [
  growing('10k', 'out of a backlog of 10,000 more', undefined, { jobs: 10_000 }),
  growing('100k', 'out of a backlog of 100,000 more', undefined, { jobs: 100_000 }),
  growing('1m', 'out of a backlog of 1,000,000 more', undefined, { jobs: 1_000_000 }),
  growing('future', 'behind 100,000 that are due in an hour', { delayMs: 3_600_000 }, { jobs: 10_000 }),
  growing('foreign', 'behind 100,000 of another queue', { queue: 'other' }, { jobs: 10_000 }),
  growing('priorities', 'of ten priorities, out of 100,000 more', undefined, { jobs: 100_000, priorities: 10 }),
]

async function measure(
  stage: Stage,
  scale: number,
  inFront: Partial<FillOrder> | undefined,
  { jobs: more, ...fill }: FillOrder,
): Promise<Measurement> {
  const jobs = Math.round(JOBS * scale)
  const warmUp = jobs
  if (inFront) await stage.assistant.call('fill', { jobs: Math.round(100_000 * scale), ...inFront })
  await stage.assistant.call('fill', { ...fill, jobs: Math.round(more * scale) + warmUp + jobs })
  await stage.analyze()
  const workers = await stage.workers(1, { marks: [warmUp, warmUp + jobs] })
  const begin = await stage.reached(workers, warmUp)
  const end = await stage.reached(workers, warmUp + jobs)
  return { rate: ((end.runs - begin.runs) / (end.at - begin.at)) * 1_000, ...costs(begin, end, 'runs') }
}
