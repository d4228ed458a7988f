import { countMatching, type SqlClient } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  backlog,
  countFitting,
  countJobs,
  failures,
  getJob,
  health,
  listDead,
  listParked,
  listReady,
  listRunning,
  listScheduled,
  listWorkers,
  statistics,
  statisticsByTask,
} from '../src/index.js'
import { costOf } from './explained.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
const { pool } = queue

/** 1,000,000 jobs: 800,000 in one queue, 199,000 in another, 1,000 in a third, 5 in a fourth; 200,000 that are parked; and 100,000 dead letters. */
beforeAll(async () => {
  await pool.query(`
    insert into pgq.jobs (queue, task, priority, execute_at, ready_at, args)
    select
      case when n % 1000 = 0 then 'third' when n % 5 = 1 then 'other' else 'default' end,
      case n % 7 when 0 then 'bill' else 'mail' end, n % 3,
      case n % 5 when 0 then now() + n * interval '1 s' end, now() - n * interval '1 ms', json_build_object('orderId', n)
    from generate_series(1, 1000000) as n;
    insert into pgq.jobs (queue, task) select 'tiny', 'rare' from generate_series(1, 5);
    insert into pgq.jobs (queue, task, execute_at, meta)
    select 'keyed', 'mail', case when n > 100 then 'infinity' else now() + n * interval '1 day' end, pgq.concurrency('account ' || n % 1000)
    from generate_series(1, 200000) as n;
    insert into pgq.job_keys (task, key, job_id) values ('mail', 'order 7', 500001);
    insert into pgq.dead_jobs (id, task, died_at, errors)
    select 10000000 + n, 'mail', now() - n * interval '1 s', '[{"attempt": 1, "name": "Error", "message": "no"}]'
    from generate_series(1, 100000) as n;
    insert into pgq.job_stats (begun_at, grain, queue, task, completed, wait_buckets, wait_counts, run_buckets, run_counts)
    select
      date_trunc('minute', now(), 'UTC') - n * interval '1 minute', case when n > 120 then 'five minutes' else 'minute' end,
      'default', 'task ' || task, 100,
      array[10, 11, 12, 13, 14, 15, 16, 17], array[20, 20, 20, 20, 5, 5, 5, 5],
      array[20, 21, 22, 23, 24, 25, 26, 27], array[20, 20, 20, 20, 5, 5, 5, 5]
    from generate_series(1, 1440) as n cross join generate_series(1, 20) as task
    where n <= 120 or n % 5 = 0`)
  await queue.worker()
}, 60_000)

const questions: Record<string, (executor: SqlClient) => Promise<unknown>> = {
  countJobs,
  'countJobs of a queue': (executor) => countJobs(executor, { queue: 'default' }),
  backlog,
  listReady,
  'listReady of a task that no job is of': (executor) => listReady(executor, { task: 'nothing' }),
  'listReady of args that no job has': (executor) => listReady(executor, { argsText: 'nothing' }),
  'listReady of a key': (executor) => listReady(executor, { task: 'mail', key: 'order 7' }),
  'listDead of a key': (executor) => listDead(executor, { task: 'mail', key: 'order 7' }),
  'countMatching of a key': (executor) => countMatching(executor, 'waiting', { task: 'mail', key: 'order 7' }),
  'countFitting of all ready ones': (executor) => countFitting(executor, 'ready'),
  'countFitting of a task that no job is of': (executor) => countFitting(executor, 'scheduled', { task: 'nothing' }),
  'countFitting of dead letters': (executor) => countFitting(executor, 'dead', { task: 'mail' }),
  'countMatching of what runs': (executor) => countMatching(executor, 'unfinished', { task: 'mail', state: 'running' }),
  listScheduled,
  'listScheduled of a task that no job is of': (executor) => listScheduled(executor, { task: 'nothing' }),
  listParked,
  'listParked far behind': (executor) => listParked(executor, { after: 'infinity 1190000' }),
  'listParked of a task that no job is of': (executor) => listParked(executor, { task: 'nothing' }),
  'countFitting of parked ones': (executor) => countFitting(executor, 'parked', { task: 'nothing' }),
  listDead,
  'listDead of a task that no job is of': (executor) => listDead(executor, { task: 'nothing' }),
  listRunning,
  listWorkers,
  'getJob of a waiting one': (executor) => getJob(executor, '500000'),
  'getJob of a missing one': (executor) => getJob(executor, '5000000'),
  statistics,
  'statistics of a day': (executor) =>
    statistics(executor, { since: new Date(Date.now() - 86_400_000), stepMs: 900_000 }),
  statisticsByTask,
  failures,
  health,
}

// The table of jobs has 11,000 blocks. Autovacuum comes when it likes: statistics of an empty table and fresh ones must both do.
describe.each(['as it grew', 'analyzed'])('1,000,000 jobs, %s', (state) => {
  beforeAll(() => state === 'analyzed' && pool.query('vacuum analyze pgq.jobs, pgq.dead_jobs, pgq.job_stats'), 60_000)

  // Mutants: a count of every row; a list that is sorted; a step of a queue that reads the whole queue; what is asked for each queue
  // multiplied by the hundred queues that a recursion is taken for.
  test.each(Object.entries(questions))('%s reads a small part of it', async (_, ask) => {
    const { blocks, rows, expected } = await costOf(pool, ask)
    expect(rows).toBeLessThan(250_000) // of 1,300,000; how many a sample hits is chance
    expect(blocks).toBeLessThan(6_000)
    expect(expected).toBeLessThan(50_000) // from 100,000 on, a server with JIT compiles it: seconds
  })

  // Mutants: not scaled up; scaled by the other table's share; the small queue left to the sample.
  // Within 20 %: five times the standard deviation of the part that is read.
  test('estimates are near the truth, and small queues exact', async () => {
    const counts = await countJobs(pool)
    const estimate = (queue: string, state: string) =>
      counts.filter((count) => count.queue === queue && count.state === state).reduce((sum, { jobs }) => sum + jobs, 0)
    expect(estimate('default', 'ready') / 600_000).toBeCloseTo(1, 0.4)
    expect(estimate('default', 'scheduled') / 199_000).toBeCloseTo(1, 0.4)
    expect(estimate('other', 'ready') / 200_000).toBeCloseTo(1, 0.4)
    // They lie together, and a sample takes whole pages: it may have many of them, or few.
    expect(estimate('keyed', 'parked') / 200_000).toBeCloseTo(1, 0)
    expect(estimate('keyed', 'scheduled')).toBeGreaterThan(0)
    expect(estimate('keyed', 'scheduled')).toBeLessThan(20_000)
    expect(estimate('default', 'dead') / 100_000).toBeCloseTo(1, 0.4)
    expect(counts.find(({ queue }) => queue === 'default')).toMatchObject({ exact: false })
    expect(counts.filter(({ queue }) => queue === 'tiny')).toStrictEqual([
      { queue: 'tiny', task: 'rare', state: 'ready', jobs: 5, exact: true, oldest: expect.any(Date) },
    ])
    const told = await backlog(pool)
    expect(told.map(({ queue, exact }) => `${queue} ${exact}`)).toEqual([
      'default false',
      'keyed false',
      'other false',
      'third false',
      'tiny true',
    ])
    expect(told[0]!.nextScheduledAt).toEqual(await queue.stored('select min(execute_at) from pgq.jobs'))
  })
})

// Mutants: the end of one queue's walk passed over for what another has behind it; an empty page that is the last one.
test('what is far behind in a long queue is found page by page', async () => {
  await pool.query(`insert into pgq.jobs (queue, task, priority) select queue, 'rare', priority
    from (values ('other', 0), ('default', 1), ('default', -1)) as job (queue, priority)`)
  const found: string[] = []
  let pages = 0
  for (let after: string | undefined; ; pages++) {
    const page = await listReady(pool, { task: 'rare', ...(after !== undefined && { after }) })
    found.push(...page.jobs.map(({ queue, priority }) => `${queue} ${priority}`))
    if (page.next === undefined) break
    after = page.next
  }
  expect(found).toEqual(['default 1', ...Array(5).fill('tiny 0'), 'other 0', 'default -1'])
  expect(pages).toBeGreaterThan(3)
  await pool.query(`delete from pgq.jobs where task = 'rare' and queue <> 'tiny'`)
})

// Mutants: one walk over all queues, which ends in the first; a walk that ends and says that it was whole.
test('a count says whether it saw everything, and sees something of every queue', async () => {
  expect(await countFitting(pool, 'ready', { task: 'rare' })).toEqual({ jobs: 5, isWhole: false })
  expect(await countFitting(pool, 'ready', { queue: 'tiny' })).toEqual({ jobs: 5, isWhole: true })
  expect(await countFitting(pool, 'ready', { queue: 'default' })).toEqual({ jobs: 25_000, isWhole: false })
})

test('every row is counted when that is asked for', async () => {
  expect(await countJobs(pool, { exact: true, queue: 'other' })).toMatchObject([
    { task: 'bill', state: 'ready', jobs: 28_571, exact: true },
    { task: 'mail', state: 'ready', jobs: 171_429, exact: true },
  ])
  const [first] = await backlog(pool, { exact: true })
  expect(first).toMatchObject({ queue: 'default', ready: 600_000, scheduled: 199_000, exact: true })
  const { rows } = await costOf(pool, (executor) => countJobs(executor, { exact: true }))
  expect(rows).toBeLessThan(1_400_000) // each row once
})

test('the oldest ready job is looked for at the head of each priority', async () => {
  await pool.query(`update pgq.jobs set ready_at = now() - interval '2 hours' where position = (
    select min(position) from pgq.jobs where queue = 'default' and execute_at is null and priority = 0)`)
  const [first] = await backlog(pool)
  expect(first!.oldestReadyMs).toBeGreaterThanOrEqual(7_200_000)
})
