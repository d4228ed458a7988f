import pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  acknowledge,
  claimAndDelete,
  claimIntoLease,
  claimParkedIntoLease,
  claimRank,
  claimSuspectAndDelete,
  claimSuspectIntoLease,
  type Executor,
  enqueue,
  enqueueMany,
  findFreePlaces,
  finishInTransaction,
  forgetHolds,
  forgetKeys,
  goAlone,
  lookAtOthers,
  parkRefusedJobs,
  pauseQueue,
  promoteDueJobs,
  rescueLostWorkers,
  restoreJobs,
  returnJobs,
} from '../src/index.js'
import { claimRequest, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const client = await database.connect()
// As @pgq/worker's session.ts has it.
await client.query(`
  set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set enable_hashjoin = off;
  set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan`)
// The test decides when there are statistics.
await pool.query(
  'alter table pgq.jobs set (autovacuum_enabled = off); alter table pgq.leases set (autovacuum_enabled = off); alter table pgq.concurrency_holds set (autovacuum_enabled = off)',
)

const MANY = 100_000
const LIMIT = 500
const OWN_LEASES = 20

interface PlanNode {
  readonly 'Node Type': string
  readonly 'Relation Name'?: string
  readonly 'Actual Rows': number
  readonly 'Actual Loops': number
  readonly 'Rows Removed by Filter'?: number
  readonly 'Shared Hit Blocks'?: number
  readonly Plans?: readonly PlanNode[]
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)]

/** The plan with which a statement ran, or with which it was prepared before; what it did is rolled back. */
async function planOf(run: (executor: Executor) => Promise<unknown>, wasPrepared = false): Promise<PlanNode[]> {
  const plans: PlanNode[] = []
  const explain = async (statement: string, params: unknown[]): Promise<pg.QueryResult> => {
    const { rows } = await client.query(`explain (analyze, buffers, timing off, format json) ${statement}`, params)
    plans.push(...nodesOf(rows[0]['QUERY PLAN'][0].Plan))
    return { rows: [] } as unknown as pg.QueryResult
  }
  const execute = (name: string, _: string, params: unknown[]) =>
    explain(`execute ${pg.escapeIdentifier(name)} (${params.map((param) => pg.escapeLiteral(String(param)))})`, [])
  const explaining = wasPrepared ? { queryPrepared: execute } : { query: explain }
  await client.query('begin')
  try {
    await run(explaining).catch((error) => {
      if (plans.length === 0) throw error // otherwise it misses its rows, which went into the plan
    })
  } finally {
    await client.query('rollback')
  }
  expect(plans.length).toBeGreaterThan(0)
  return plans
}

const rowsOf = (node: PlanNode) => (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops']

/** No sequential scan of a table of the queue, no sort of more than a batch, and no more rows read than `rows`. */
function expectFrugal(plan: readonly PlanNode[], rows: number): void {
  const scans = plan.filter((node) => ['jobs', 'leases', 'dead_jobs'].includes(node['Relation Name'] ?? ''))
  expect(scans.filter((node) => node['Node Type'] === 'Seq Scan')).toEqual([])
  const sorts = plan.filter((node) => node['Node Type'].endsWith('Sort'))
  expect(sorts.filter((node) => rowsOf(node) > rows)).toEqual([])
  const read = scans.filter((node) => /Scan$/.test(node['Node Type'])).map(rowsOf)
  expect(Math.max(0, ...read)).toBeLessThanOrEqual(rows)
}

const insert = (queue: string, count: number, executeAt = 'null') =>
  pool.query(
    `insert into pgq.jobs (queue, task, args, priority, execute_at)
     select '${queue}', 'work', '{"n": 1}', n % 3, ${executeAt} from generate_series(1, ${count}) as n`,
  )

/** 100,000 jobs are ready, as many wait for their time, and as many are another queue's. */
async function load(): Promise<void> {
  await insert('default', MANY)
  await insert('default', MANY, `now() + interval '1 hour' + n * interval '1 ms'`)
  await insert('default', 1_000, `now() - n * interval '1 ms'`)
  await insert('other', MANY)
}

const statistics: Record<string, () => Promise<unknown>> = {
  'no statistics': async () => {
    await load()
  },
  'statistics of the empty table': async () => {
    await pool.query('analyze pgq.jobs, pgq.leases')
    await load()
  },
  'statistics of another time': async () => {
    await insert('third', 50)
    await pool.query(`insert into pgq.leases (worker_id, number) select 0, n from generate_series(1, 1000) as n`)
    await pool.query('analyze pgq.jobs, pgq.leases')
    await pool.query('delete from pgq.leases')
    await load()
  },
  'fresh statistics': async () => {
    await load()
    await pool.query('vacuum analyze pgq.jobs, pgq.leases')
  },
  'statistics of the full table, which is now nearly empty': async () => {
    await load()
    await pool.query('vacuum analyze pgq.jobs, pgq.leases')
    await pool.query(`delete from pgq.jobs where id % 1000 <> 0`)
    await pool.query('vacuum pgq.jobs')
  },
}

describe.each(Object.keys(statistics))('%s', (name) => {
  let workerId: number
  beforeEach(async () => {
    await statistics[name]!()
    workerId = await newWorker(pool)
  }, 60_000)

  // One test, because the load takes longer than the plans.
  test('every statement reads what it takes, not what is there', { timeout: 60_000 }, async () => {
    const claim = claimRequest(workerId, { limit: LIMIT })
    expectFrugal(await planOf((executor) => claimIntoLease(executor, 'pgq', { ...claim, number: 1 })), LIMIT)
    expectFrugal(await planOf((executor) => claimAndDelete(executor, 'pgq', claim)), LIMIT)

    const behind = { after: [String(claimRank(0, 50_000))] }
    expectFrugal(await planOf((executor) => claimAndDelete(executor, 'pgq', { ...claim, ...behind })), LIMIT)

    // None there so far: their index is empty, and the one of all ready jobs is not.
    expectFrugal(await planOf((executor) => goAlone(executor, 'pgq', claim)), 0)
    expectFrugal(await planOf((executor) => claimSuspectAndDelete(executor, 'pgq', claim)), 0)
    await pool.query(`update pgq.jobs set crash_count = 2 where id in (
      select id from pgq.jobs where queue = 'default' and execute_at is null and id % 1000 = 0 order by id limit 200)`)
    const suspects = Number((await pool.query('select count(*) from pgq.jobs where crash_count = 2')).rows[0].count)
    expectFrugal(await planOf((executor) => goAlone(executor, 'pgq', claim)), suspects)
    expectFrugal(await planOf((executor) => claimSuspectAndDelete(executor, 'pgq', claim)), 1)
    expectFrugal(await planOf((executor) => claimSuspectIntoLease(executor, 'pgq', { ...claim, number: 1 })), 1)
    await pool.query('update pgq.jobs set crash_count = 0 where crash_count = 2')

    const two = {
      queues: ['default', 'other'],
      after: [...claim.after, ...claim.after],
      upto: [...claim.upto, ...claim.upto],
    }
    expectFrugal(await planOf((executor) => claimAndDelete(executor, 'pgq', { ...claim, ...two })), 2 * LIMIT)

    await pauseQueue(pool, 'other')
    const paused = { ...claim, queues: ['other'] }
    expectFrugal(await planOf((executor) => claimAndDelete(executor, 'pgq', paused)), 0)
    const half = { ...two, queues: ['other', 'default'] }
    expectFrugal(await planOf((executor) => claimAndDelete(executor, 'pgq', { ...claim, ...half })), LIMIT)

    expectFrugal(
      await planOf((executor) =>
        promoteDueJobs(executor, 'pgq', { queues: ['default', 'other'], limit: LIMIT, watchedTasks: ['work'] }),
      ),
      LIMIT,
    )
    expectFrugal(await planOf((executor) => enqueueMany(executor, 'work', [{ args: 1 }, { args: 2 }])), 2)

    const leased = await claimIntoLease(pool, 'pgq', { ...claim, number: 1 })
    expect(leased.length).toBeGreaterThan(1)
    // The worker's own open leases may be read, nobody else's.
    await pool.query(
      `insert into pgq.leases (worker_id, number, ids) select 0, n, array[n] from generate_series(1, 1000) as n`,
    )
    for (let number = 2; number <= OWN_LEASES; number++)
      await claimIntoLease(pool, 'pgq', { ...claim, limit: 1, number })
    const returns = [1, 2].map((ordinal) => ({ number: 1, ordinal, kind: 'requeue' as const, attempt: 1, delayMs: 0 }))
    expectFrugal(await planOf((executor) => returnJobs(executor, 'pgq', { workerId, returns })), OWN_LEASES)
    const acknowledgement = { workerId, finished: [2, 3], partial: [{ number: 1, done: [1] }] }
    expectFrugal(await planOf((executor) => acknowledge(executor, 'pgq', acknowledgement)), OWN_LEASES)
    expectFrugal(await planOf((executor) => lookAtOthers(executor, 'pgq', workerId)), OWN_LEASES)
    const place = { workerId, number: 1, ordinal: 1 }
    expectFrugal(await planOf((executor) => finishInTransaction(executor, 'pgq', place, '1')), 1)
    const restores = [{ job: leased[0]!, settlement: { kind: 'release' as const } }]
    expectFrugal(await planOf((executor) => restoreJobs(executor, 'pgq', restores)), 1)
  })
})

/** Of 20,000 keys, jobs are parked, and one runs of each of the first 1,000; 100,000 more of one key are ready. */
async function loadKeys(): Promise<void> {
  await insert('default', MANY)
  await pool.query(`
    insert into pgq.jobs (task, meta, execute_at)
    select 'work', pgq.concurrency('key ' || n % 20000), 'infinity' from generate_series(1, 40000) as n;
    insert into pgq.jobs (queue, task, meta) select 'keyed', 'work', pgq.concurrency('a') from generate_series(1, ${MANY}) as n;
    insert into pgq.leases (worker_id, number, ids) select 0, n, array[-n] from generate_series(1, 1000) as n;
    insert into pgq.concurrency_holds select 'default', 'key ' || n, -n, 0, n from generate_series(1, 1000) as n;
    insert into pgq.concurrency_holds select 'gone', 'key ' || n, -n, 0, 0 from generate_series(1, 1000) as n`)
}

const keyStatistics: Record<string, () => Promise<unknown>> = {
  'no statistics': loadKeys,
  'statistics of the empty tables': async () => {
    await pool.query('analyze pgq.jobs, pgq.leases, pgq.concurrency_holds')
    await loadKeys()
  },
  'fresh statistics': async () => {
    await loadKeys()
    await pool.query('vacuum analyze pgq.jobs, pgq.leases, pgq.concurrency_holds')
  },
}

// Mutants: without one of the indexes of keys; without the setting of refuse_jobs, or of take_parked_jobs.
describe.each(Object.keys(keyStatistics))('concurrency keys, %s', (name) => {
  let workerId: number
  beforeEach(async () => {
    await keyStatistics[name]!()
    workerId = await newWorker(pool, ['keyed'])
  }, 60_000)

  test('every statement reads what it takes, not what is there', { timeout: 60_000 }, async () => {
    const queues = ['default', 'keyed']
    const pages = (plan: readonly PlanNode[]) => plan[0]!['Shared Hit Blocks']!
    const promoted = await planOf((executor) => promoteDueJobs(executor, 'pgq', { queues, limit: LIMIT }))
    expectFrugal(promoted, 1)
    const seen = await planOf((executor) => findFreePlaces(executor, 'pgq', { queue: '', key: '', queues }))
    expectFrugal(seen, 1_000)
    expect(pages(seen)).toBeLessThan(20_000)

    const places = Array.from({ length: 10 }, (_, n) => ({ queue: 'default', key: `key ${5_000 + n}` }))
    const request = {
      workerId,
      number: 1,
      places,
      tasks: ['work'],
      knownTasks: ['work'],
      limit: 10,
      maxBytes: 1_000_000,
    }
    expect(pages(await planOf((executor) => claimParkedIntoLease(executor, 'pgq', request)))).toBeLessThan(2_000)
    expect(pages(await planOf((executor) => forgetHolds(executor, 'pgq', {})))).toBeLessThan(5_000)

    const claim = { ...claimRequest(workerId, { limit: 2 }), queues: ['keyed'], number: 1 }
    expectFrugal(await planOf((executor) => claimIntoLease(executor, 'pgq', claim)), 2)
    await claimIntoLease(pool, 'pgq', claim)
    // 1,000 that would be claimed next are parked: each is written, and its indexes.
    expect(pages(await planOf((executor) => parkRefusedJobs(executor, 'pgq', { workerId, number: 1 })))).toBeLessThan(
      40_000,
    )
  })
})

// Mutant: no oneByOne: what puts jobs back reads the ids of all that wait into a hash, each time anew.
test('plans that were made while the table was empty do not read all of it when it is full', async () => {
  const workerId = await newWorker(client)
  await enqueueMany(pool, 'work', [{ args: 1 }, { args: 2 }])
  const [job] = await claimAndDelete(client, 'pgq', claimRequest(workerId))
  const restores = Array.from({ length: LIMIT }, (_, id) => ({
    job: { ...job!, id: String(1_000_000_000 + id) },
    settlement: { kind: 'release' as const },
  }))
  const statements = [
    (executor: Executor) => restoreJobs(executor, 'pgq', restores),
    (executor: Executor) => rescueLostWorkers(executor, 'pgq', { workerId, maxCrashes: 3 }),
  ]
  const preparing: Executor = { queryPrepared: (name, text, values) => client.query({ name, text, values }) }
  for (const statement of statements) {
    await client.query('begin')
    await statement(preparing)
    await client.query('rollback')
  }

  await load()
  // One worker is lost; another one runs a job that was asked to end long ago.
  for (const owner of [0, workerId]) {
    await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 1 })
    await pool.query('update pgq.leases set number = 2, worker_id = $1 where number = 1', [owner])
  }
  await pool.query(
    `insert into pgq.cancellations select ids[1], now() - interval '1 hour' from pgq.leases where worker_id = $1`,
    [workerId],
  )
  for (const statement of statements) {
    const read = (await planOf(statement, true)).filter((node) => node['Relation Name'] === 'jobs').map(rowsOf)
    expect(Math.max(...read)).toBeLessThanOrEqual(LIMIT)
  }
}, 60_000)

// Mutant: leases.* in place of wholeArrays: each job that goes back reads the args of all; 1,000 of 45 KB took longer than a statement may.
test('jobs that go back read their lease once', async () => {
  const workerId = await newWorker(client)
  const args = 'x'.repeat(4_000)
  await enqueueMany(
    pool,
    'work',
    Array.from({ length: LIMIT }, () => ({ args })),
  )
  const leased = await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, { limit: LIMIT }), number: 1 })
  expect(leased).toHaveLength(LIMIT)
  const returns = leased.map(({ ordinal }) => ({
    number: 1,
    ordinal,
    kind: 'requeue' as const,
    attempt: 1,
    delayMs: 0,
  }))
  const [root] = await planOf((executor) => returnJobs(executor, 'pgq', { workerId, returns }))
  // 1,300 pages of args, and 20 for each job that is written.
  expect(root!['Shared Hit Blocks']).toBeLessThan(20_000)
})

// Mutant: the keys joined with what was seen of them; planned while the tables were empty, pairs of all with all: 5,000 keys took 4 s.
test('a look for free keys reads each key and each job once', async () => {
  await pool.query('vacuum analyze pgq.job_keys, pgq.jobs')
  const count = 2_000
  await insert('default', count)
  await pool.query(`
    insert into pgq.job_keys (task, key, job_id)
    select 'work', 'key of ' || id, id from pgq.jobs union all select 'work', 'free ' || n, 0 from generate_series(1, ${count}) as n`)
  const plan = await planOf((executor) => forgetKeys(executor, 'pgq', { task: '', key: '' }))
  expect(Math.max(...plan.map(rowsOf))).toBeLessThanOrEqual(2 * count)
})

// Mutant: without its setting; each unique job reads all that wait: 30 ms of 100,000.
test('a session that enqueued unique jobs while there were few does not read all of them for each', async () => {
  const caller = await database.connect()
  await pool.query('vacuum pgq.jobs')
  for (let n = 0; n < 10; n++) await enqueue(caller, 'work', {}, { unique: { key: `early ${n}` } })
  await insert('default', MANY)
  const { rows } = await caller.query(
    `explain (analyze, buffers, timing off, format json) select pgq.enqueue_unique('work', 'late'), pgq.enqueue_unique('work', 'early 1')`,
  )
  expect(rows[0]['QUERY PLAN'][0].Plan['Shared Hit Blocks']).toBeLessThan(700)
})
