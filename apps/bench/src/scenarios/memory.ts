import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

const ROUNDS = 10

/** Whether a worker's memory grows with the jobs that it has run. */
export const memory: readonly Scenario[] = [
  {
    name: 'memory',
    title: 'A worker that runs 1,000,000 jobs: resident memory',
    systems: ['pgq', 'graphile-tuned', 'pg-boss-loop'],
    columns: [
      { key: 'growth', title: 'most later / after 100,000, %' },
      { key: 'first', title: 'after 100,000, MB' },
      { key: 'most', title: 'most later, MB' },
      { key: 'last', title: 'at the end, MB' },
    ],
    run: (stage, scale) => measure(stage, Math.round(100_000 * scale)),
  },
]

async function measure(stage: Stage, jobs: number): Promise<Measurement> {
  const [worker] = await stage.workers(1)
  const megabytes = []
  for (let round = 1; round <= ROUNDS; round++) {
    await stage.assistant.call('fill', { jobs })
    const { rssBytes } = await stage.tickAt(worker!, round * jobs, 60_000)
    megabytes.push(rssBytes / 2 ** 20)
  }
  const [first, ...later] = megabytes
  const most = Math.max(...later)
  return { growth: (most / first!) * 100, first, most, last: megabytes.at(-1) }
}
