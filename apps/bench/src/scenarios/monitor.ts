import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { countMatching } from '@pgq/core'
import { migrate } from '@pgq/migrations'
import {
  backlog,
  countFitting,
  countJobs,
  failures,
  getJob,
  health,
  listDead,
  listReady,
  listRunning,
  listScheduled,
  listWorkers,
  statistics,
  statisticsByTask,
} from '@pgq/monitor'
import { startPostgres } from '@pgq/test-db'
import pg from 'pg'
import type { Stage } from '../stage.js'
import type { Measurement, Scenario } from './scenario.js'

const JOBS = 1_000_000
const TIMES = 20
const DAY_MS = 86_400_000

const questions: Readonly<Record<string, (pool: pg.Pool) => Promise<unknown>>> = {
  countJobs,
  backlog,
  listReady,
  'listReady of a task that no job is of': (pool) => listReady(pool, { task: 'nothing' }),
  'listReady of args that no job has': (pool) => listReady(pool, { argsText: 'nothing' }),
  listScheduled,
  listDead,
  'listDead, 2,000 to be grouped': (pool) => listDead(pool, { limit: 2_000 }),
  listRunning,
  listWorkers,
  countFitting: (pool) => countFitting(pool, 'ready'),
  'countFitting of a task that no job is of': (pool) => countFitting(pool, 'ready', { task: 'nothing' }),
  'countMatching of what runs': (pool) => countMatching(pool, 'unfinished', { task: 'mail', state: 'running' }),
  getJob: (pool) => getJob(pool, String(JOBS / 2)),
  statistics,
  'statistics of a day': (pool) => statistics(pool, { since: new Date(Date.now() - DAY_MS), stepMs: 900_000 }),
  statisticsByTask,
  failures,
  health,
}

const WHAT = '1,000,000 waiting jobs, 100,000 dead letters and a day of statistics, in ms'
const columns = Object.keys(questions).map((name) => ({ key: name, title: name }))

/** How long people wait for an answer about a queue that has grown. */
export const monitor: readonly Scenario[] = [
  {
    name: 'monitor',
    title: `The slowest of ${TIMES} answers about ${WHAT}`,
    systems: ['pgq'],
    columns,
    run: measure,
  },
  {
    name: 'monitor/standby',
    title: `On a standby: the slowest of ${TIMES} answers about ${WHAT}`,
    systems: ['pgq'],
    columns,
    run: (_, scale) => measureOnStandby(scale),
  },
]

async function measure(stage: Stage, scale: number): Promise<Measurement> {
  await stage.query(filling(scale))
  await stage.analyze()
  return askAll(stage.place.postgresUrl)
}

/** On a server of its own: it is filled as a primary, and waits for one that never comes afterwards. */
async function measureOnStandby(scale: number): Promise<Measurement> {
  const server = await startPostgres()
  try {
    await migrate(server.url)
    const pool = new pg.Pool({ connectionString: server.url })
    await pool.query(filling(scale))
    await pool.query('vacuum analyze')
    await pool.query('checkpoint')
    await pool.end()
    await server.restart('fast', () => writeFileSync(join(server.dataDir, 'standby.signal'), ''))
    return await askAll(server.url)
  } finally {
    await server.stop()
  }
}

const filling = (scale: number): string => `
    insert into pgq.jobs (queue, task, priority, execute_at, ready_at, args)
    select
      case n % 5 when 1 then 'other' else 'default' end, case n % 7 when 0 then 'bill' else 'mail' end, n % 3,
      case n % 5 when 0 then now() + n * interval '1 s' end, now() - n * interval '1 ms',
      json_build_object('orderId', n)
    from generate_series(1, ${JOBS * scale}) as n;
    insert into pgq.dead_jobs (id, task, died_at, errors)
    select ${JOBS * 10} + n, 'mail', now() - n * interval '1 s', '[{"attempt": 1, "name": "Error", "message": "no"}]'
    from generate_series(1, ${(JOBS / 10) * scale}) as n;
    insert into pgq.job_stats (begun_at, grain, queue, task, completed, wait_buckets, wait_counts, run_buckets, run_counts)
    select
      date_trunc('minute', now(), 'UTC') - n * interval '1 minute', case when n > 120 then 'five minutes' else 'minute' end,
      'default', 'task ' || task, 40, array[10, 12, 14, 16], array[10, 10, 10, 10], array[20, 22, 24, 26], array[10, 10, 10, 10]
    from generate_series(1, 1440) as n cross join generate_series(1, 20) as task
    where n <= 120 or n % 5 = 0`

async function askAll(connectionString: string): Promise<Measurement> {
  const pool = new pg.Pool({ connectionString })
  try {
    const slowest: Record<string, number> = {}
    for (const [name, ask] of Object.entries(questions)) slowest[name] = await slowestOf(() => ask(pool))
    return slowest
  } finally {
    await pool.end()
  }
}

/** In ms. The first answer does not count: it is of a connection that has no plan yet. */
async function slowestOf(ask: () => Promise<unknown>): Promise<number> {
  await ask()
  let slowest = 0
  for (let time = 0; time < TIMES; time++) {
    const start = performance.now()
    await ask()
    slowest = Math.max(slowest, performance.now() - start)
  }
  return slowest
}
