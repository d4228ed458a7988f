import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cancelJobs, defineTask, pauseQueue, redriveDeadJobs, resumeQueue, typed } from '@pgq/core'
import {
  backlog,
  countJobs,
  failures,
  getJob,
  getSchedule,
  health,
  listDead,
  listParked,
  listPausedQueues,
  listReady,
  listRunning,
  listScheduled,
  listSchedules,
  listWorkers,
  statistics,
  statisticsByTask,
} from '@pgq/monitor'
import { testDatabase } from '@pgq/test-db'
import { createWorker, type Worker } from '@pgq/worker'
import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { everyState } from './every-state.js'
import { blocksOf, root } from './page.js'

const database = await testDatabase()
// The page's names, made unique: roles belong to the whole server.
const roleOf = (name: string) => `${name}_${database.name}`
const page = readFileSync(join(root, 'docs/operating.md'), 'utf8')
const grants = blocksOf('docs/operating.md', page)
  .find(({ language, code }) => language === 'sql' && code.includes('create role'))!
  .code.replaceAll(/\bshop_(web|worker|monitor)\b/g, (name) => roleOf(name))

const owner = new pg.Pool({ connectionString: database.url, max: 4 })
const config = (role: string) => ({ connectionString: database.url, options: `-c role=${roleOf(role)}` })
const pools = ['shop_web', 'shop_worker', 'shop_monitor'].map((role) => new pg.Pool({ ...config(role), max: 2 }))
const [web, worker, monitor] = pools as [pg.Pool, pg.Pool, pg.Pool]

beforeAll(async () => {
  await owner.query(grants)
})

afterAll(async () => {
  await Promise.all(pools.map((pool) => pool.end()))
  for (const role of ['shop_web', 'shop_worker', 'shop_monitor']) {
    await owner.query(`drop owned by ${roleOf(role)}; drop role ${roleOf(role)}`)
  }
  await owner.end()
})

const denied = { code: '42501' }

// A new table, sequence or column is in here too: say on the page who may do what with it.
test('who may do what, object by object', async () => {
  const { rows } = await owner.query<{ line: string }>(
    `select concat(replace(role, $1, ''), ': ', rights, ' on ', object, ' (' || columns || ')') as line
     from (
       select object, role, rights, string_agg(column_name, ' ' order by attnum) as columns
       from (
         select object, attnum, column_name, case grantee when 0 then 'PUBLIC' else grantee::regrole::text end as role,
           string_agg(lower(privilege_type), ' ' order by privilege_type) as rights
         from (
           select 'schema ' || nspname as object, null::smallint as attnum, null as column_name, nspacl as acl
           from pg_namespace where nspname = 'pgq'
           union all
           select relname, null, null, relacl from pg_class where relnamespace = 'pgq'::regnamespace
           union all
           select relname, attnum, attname, attacl
           from pg_attribute join pg_class on pg_class.oid = attrelid where relnamespace = 'pgq'::regnamespace
         ) as object cross join lateral aclexplode(acl)
         where grantee <> (select nspowner from pg_namespace where nspname = 'pgq')
         group by 1, 2, 3, 4
       ) as granted
       group by 1, 2, 3
     ) as granted
     order by role, object, rights`,
    [`_${database.name}`],
  )
  expect(rows.map(({ line }) => line).join('\n')).toMatchInlineSnapshot(`
    "shop_monitor: select on concurrency_holds
    shop_monitor: select on dead_jobs (id created_at ready_at died_at priority attempt crash_count reason queue task retry meta errors)
    shop_monitor: select on finished_jobs
    shop_monitor: select on idle_workers
    shop_monitor: select on job_keys
    shop_monitor: select on job_positions
    shop_monitor: select on job_stats
    shop_monitor: select on job_stats_id_seq
    shop_monitor: select on jobs (id position created_at ready_at execute_at priority attempt crash_count queue task retry meta errors)
    shop_monitor: select on jobs_id_seq
    shop_monitor: select on leases (worker_id number claimed_at transactional done ids created_ats priorities attempts crash_counts queues tasks retries metas errors)
    shop_monitor: select on migrations
    shop_monitor: select on queue_counts
    shop_monitor: select on queues
    shop_monitor: select on schedules (name task queue priority retry cron every_ms time_zone catch_up next_at paused_at last_at last_job_id failed_at error)
    shop_monitor: usage on schema pgq
    shop_monitor: select on workers
    shop_monitor: select on workers_id_seq
    shop_web: select on finished_jobs
    shop_web: select on idle_workers
    shop_web: insert select update on job_keys
    shop_web: usage on job_positions
    shop_web: insert on jobs (execute_at priority queue task args retry meta)
    shop_web: select on jobs (id)
    shop_web: select on leases (worker_id number done ids)
    shop_web: usage on schema pgq
    shop_worker: delete insert select update on cancellations
    shop_worker: delete insert select update on concurrency_holds
    shop_worker: delete insert select update on dead_jobs
    shop_worker: delete insert select update on finished_jobs
    shop_worker: delete insert select update on idle_workers
    shop_worker: delete insert select update on job_keys
    shop_worker: usage on job_positions
    shop_worker: delete insert select update on job_states
    shop_worker: delete insert select update on job_stats
    shop_worker: usage on job_stats_id_seq
    shop_worker: delete insert select update on jobs
    shop_worker: usage on jobs_id_seq
    shop_worker: delete insert select update on leases
    shop_worker: select on migrations
    shop_worker: delete insert select update on queue_counts
    shop_worker: delete insert select update on queues
    shop_worker: delete insert select update on schedules
    shop_worker: usage on schema pgq
    shop_worker: delete insert select update on workers
    shop_worker: usage on workers_id_seq"
  `)
})

describe('who enqueues', () => {
  const receipt = defineTask('receipt', { args: typed<{ order: number }>(), queue: 'web' })

  // Mutant: the page without the grant on idle_workers, or on the sequence: nobody could enqueue.
  test('enqueues in every way', async () => {
    await receipt.enqueue(web, { order: 1 })
    await receipt.enqueueMany(web, [
      { args: { order: 2 }, priority: 3, retry: { maxAttempts: 2 } },
      { args: { order: 3 }, delayMs: 60_000 },
    ])
    await web.query(`select pgq.enqueue('receipt', '{"order": 4}', queue => 'web')`)
    await web.query(`select pgq.enqueue_many('[{"task": "receipt", "queue": "web", "args": {"order": 5}}]')`)
    const unique = { key: 'one' }
    const { id } = await receipt.enqueue(web, { order: 6 }, { unique })
    expect(await receipt.enqueue(web, { order: 7 }, { unique })).toEqual({ status: 'duplicate', id })
    await expect(
      receipt.enqueue(web, { order: 7 }, { unique: { ...unique, ifWaiting: 'replace' } }),
    ).rejects.toMatchObject(denied)
    await owner.query(`grant update, select (id, position, ready_at, execute_at) on pgq.jobs to ${roleOf('shop_web')}`)
    expect(await receipt.enqueue(web, { order: 7 }, { unique: { ...unique, ifWaiting: 'replace' } })).toEqual({
      status: 'replaced',
      id,
    })
    await owner.query(`revoke update, select (position, ready_at, execute_at) on pgq.jobs from ${roleOf('shop_web')}`)
    const { rows } = await owner.query(`select count(*)::integer as jobs from pgq.jobs where queue = 'web'`)
    expect(rows).toEqual([{ jobs: 6 }])
  })

  test.each([
    ['read what a job carries', 'select args from pgq.jobs'],
    ['read it through a view', 'select args from pgq.job_states'],
    ['change a job', `update pgq.jobs set priority = 1`],
    ['take a job away', 'delete from pgq.jobs'],
    ['forge a history', `insert into pgq.jobs (task, attempt) values ('receipt', 7)`],
    ['pause a queue', `insert into pgq.queues (name) values ('web')`],
    ['put something of its own there', 'create table pgq.mine ()'],
  ])('cannot %s', async (_, statement) => {
    await expect(web.query(statement)).rejects.toMatchObject(denied)
  })
})

describe('who works', () => {
  const task = <Mode extends 'at-least-once' | 'at-most-once' | 'transactional'>(mode: Mode) =>
    defineTask(mode, { mode, args: typed<{ n: number }>(), queue: 'work' })
  const leased = task('at-least-once')
  const transactional = task('transactional')
  const once = task('at-most-once')
  const dying = defineTask('dying', { queue: 'work', retry: { maxAttempts: 1 } })

  test('runs jobs in every mode, wakes up for them, and steers', async () => {
    const running = createWorker({
      connection: config('shop_worker'),
      handleSignals: false,
      handlers: [
        leased.handle((_, job) => job.finish(worker)),
        transactional.handle(async (_, { trx }) => void (await sql`select 1`.execute(trx))),
        once.handle(() => {}),
        dying.handle(() => Promise.reject(new Error('as ever'))),
      ],
    })
    onTestFinished(() => running.stop())
    await running.start()
    await ends(running, 4, async () => {
      for (const one of [leased, transactional, once]) await one.enqueue(web, { n: 1 })
      await dying.enqueue(web, null)
    })
    expect(await redriveDeadJobs(worker, { task: 'dying' })).toBe(1)
    expect(await cancelJobs(worker, { queue: 'web' })).toBe(6)
    expect(await pauseQueue(worker, 'work')).toBe(true)
    expect(await resumeQueue(worker, 'work')).toBe(true)
    expect(await failures(worker)).toMatchObject({ failures: expect.anything() })
  })

  test.each([
    ['drop what it is given', 'drop table pgq.jobs'],
    ['say that the schema is another version', 'delete from pgq.migrations'],
  ])('cannot %s', async (_, statement) => {
    await expect(worker.query(statement)).rejects.toMatchObject(denied)
  })
})

describe('who looks', () => {
  const dailyReport = defineTask('daily report', { args: typed<{ day: number }>() })

  beforeAll(async () => {
    const [client, transaction] = [new pg.Client(database.url), new pg.Client(database.url)]
    await Promise.all([client.connect(), transaction.connect()])
    await everyState(client, transaction)
    return () => Promise.all([client.end(), transaction.end()])
  })

  test('counts, measures and judges', async () => {
    const states = new Set((await countJobs(monitor)).map(({ state }) => state))
    expect([...states].sort()).toEqual(['dead', 'parked', 'ready', 'running', 'scheduled'])
    expect((await backlog(monitor)).length).toBeGreaterThan(0)
    expect((await listWorkers(monitor)).map(({ hostname }) => hostname)).toContain('staged')
    expect((await failures(monitor)).failures.length).toBeGreaterThan(0)
    expect((await statistics(monitor)).total).toMatchObject({ completed: expect.any(Number) })
    await statisticsByTask(monitor)
    await listPausedQueues(monitor)
    expect((await health(monitor)).unseen).toEqual([])
    await monitor.query('select * from pgq.queue_counts')
  })

  // Mutant: a grant on all columns of leases.
  test.each([
    'select args from pgq.jobs',
    'select args from pgq.dead_jobs',
    'select args from pgq.leases',
    'select args from pgq.schedules',
    'select args from pgq.job_states',
    'update pgq.queues set paused_at = null',
    `select nextval('pgq.job_positions')`,
  ])('cannot %s', async (statement) => {
    await expect(monitor.query(statement)).rejects.toMatchObject(denied)
  })

  test('lists single jobs and schedules, their args with the grant that the page names, and changes nothing', async () => {
    const withArgs = true
    const lists = [
      listReady,
      listScheduled,
      listParked,
      listDead,
      async (...asked: Parameters<typeof listRunning>) => ({ jobs: await listRunning(...asked) }),
    ]
    await dailyReport.schedule(worker, { day: 1 }, { everyMs: 86_400_000 })
    const schedule = (options?: { withArgs: boolean }) => getSchedule(monitor, 'daily report', options)
    const [listed] = (await listSchedules(monitor)).filter(({ name }) => name === 'daily report')
    expect(await schedule()).toMatchObject(listed!)
    await expect(schedule({ withArgs })).rejects.toMatchObject(denied)
    const ids: string[] = []
    for (const list of lists) {
      const { jobs } = await list(monitor)
      expect(await getJob(monitor, jobs[0]!.id)).toMatchObject({ id: jobs[0]!.id, task: jobs[0]!.task })
      await expect(list(monitor, { withArgs })).rejects.toMatchObject(denied)
      expect((await list(monitor, { task: 'mail', key: 'of nobody' })).jobs).toEqual([])
      await expect(getJob(monitor, jobs[0]!.id, { withArgs })).rejects.toMatchObject(denied)
      ids.push(jobs[0]!.id)
    }
    const [, grant] = /`(grant select on all tables in schema pgq to shop_monitor)`\.$/m.exec(page) ?? []
    await owner.query(grant!.replaceAll('shop_monitor', roleOf('shop_monitor')))
    for (const list of lists) expect((await list(monitor, { withArgs })).jobs[0]).toHaveProperty('args')
    expect(await schedule({ withArgs })).toMatchObject({ args: { day: 1 } })
    for (const id of ids) expect(await getJob(monitor, id, { withArgs })).toHaveProperty('args')
    await expect(redriveDeadJobs(monitor, { task: 'mail' })).rejects.toMatchObject(denied)
  })
})

/** Waits until the worker has settled so many jobs that `begin` enqueued. */
async function ends(running: Worker, jobs: number, begin: () => Promise<void>): Promise<void> {
  let left = jobs
  const done = new Promise<void>((resolve) => running.on('job.settled', () => --left === 0 && resolve()))
  await begin()
  await done
}
