import pg from 'pg'
import type { LoadHandle } from '../load-process.js'
import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

const ROUNDS = 10

/** Whether dead rows that nobody may remove slow a worker down: somebody's open transaction keeps them all. */
export const degrade: readonly Scenario[] = [
  {
    name: 'degrade',
    title: 'Ten times 20,000 jobs enqueued and drained while another session holds a snapshot',
    systems: ['pgq', 'graphile-tuned', 'pg-boss-loop'],
    columns: [
      { key: 'kept', title: 'last / first, %' },
      { key: 'first', title: 'first 20,000, jobs/s' },
      { key: 'last', title: 'last 20,000, jobs/s' },
    ],
    run: (stage, scale) => measure(stage, Math.round(20_000 * scale)),
  },
]

async function measure(stage: Stage, jobs: number): Promise<Measurement> {
  const marks = Array.from({ length: ROUNDS + 1 }, (_, round) => [round * jobs + 1, (round + 1) * jobs]).flat()
  const [worker] = await stage.workers(1, { marks })
  await drainRound(stage, worker!, jobs, 0) // warms up, before the snapshot
  const holder = new pg.Client(stage.place.postgresUrl)
  await holder.connect()
  await holder.query('begin isolation level repeatable read; select count(*) from pg_class')
  const rates = []
  for (let round = 1; round <= ROUNDS; round++) rates.push(await drainRound(stage, worker!, jobs, round))
  await holder.end()
  const [first, last] = [rates[0]!, rates.at(-1)!]
  return { kept: (last / first) * 100, first, last }
}

/** One round, from the start of its first handler to that of its last one: jobs a second. */
async function drainRound(stage: Stage, worker: LoadHandle, jobs: number, round: number): Promise<number> {
  const first = stage.tickAt(worker, round * jobs + 1)
  const last = stage.tickAt(worker, (round + 1) * jobs)
  await stage.assistant.call('fill', { jobs, chunk: jobs })
  const ms = (await last).at - (await first).at
  await stage.finished()
  return ((jobs - 1) / ms) * 1_000
}
