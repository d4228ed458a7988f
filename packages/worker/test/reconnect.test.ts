import { migrate } from '@pgq/migrations'
import { createDatabase, startPostgres, startProxy } from '@pgq/test-db'
import { sql } from 'kysely'
import pg from 'pg'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Logger, Worker } from '../src/index.js'
import { all, gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'

// A server of its own, that can be killed. What it acknowledged is on disk as far as a crash of the server goes.
const server = await startPostgres({ settings: { fsync: 'off', full_page_writes: 'off' } })
afterAll(() => server.stop('immediate'))
const own = await createDatabase(server.url)
await migrate(own.url)
const TRUNCATE = 'truncate pgq.jobs, pgq.workers, pgq.leases, pgq.dead_jobs, pgq.idle_workers restart identity cascade'
const db = await queue({ ...own, adminUrl: server.url, truncate: async () => void (await admin(TRUNCATE)) })
let proxy: Awaited<ReturnType<typeof startProxy>>
beforeEach(async () => {
  proxy = await startProxy(server.port)
})
afterEach(() => proxy.close())

async function admin(text: string): Promise<any[]> {
  const client = new pg.Client(own.url)
  await client.connect()
  const { rows } = await client.query(text).finally(() => client.end())
  return rows
}

/** What a worker logs from warnings on, apart from what befell single jobs. */
function warnings(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const note = (fields: object, message: string) => void ('jobId' in fields || lines.push(message))
  return { lines, debug() {}, info() {}, warn: note, error: note }
}

const asleep = () => until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '1')
/** The doorbell is back: an enqueue wakes the worker, although it polls once a minute. */
async function wakesUp(worker: Worker, task: ReturnType<typeof numbered<any>>): Promise<void> {
  await asleep()
  const settled = next(worker, 'job.settled')
  await task.enqueue(db.pool, 1_000)
  expect((await settled).outcome).toEqual({ type: 'success' })
}

describe('a server that crashes', { timeout: 60_000 }, () => {
  // Mutants: no listener for errors of idle clients (the process ends); no reconnect of the listening connection.
  test.each(MODES)('%s, while the worker sleeps: it works again by itself, and listens again', async (mode) => {
    const logger = warnings()
    const task = numbered('work', { mode })
    const worker = await db.worker([task.handle(() => {})], { pollMs: 60_000, logger })
    const restored = next(worker, 'listener.restored')
    await asleep()
    await server.restart('immediate', () => pause(1_500))
    await restored
    await wakesUp(worker, task)
    expect(logger.lines).toContain('LISTEN lost; polling')
    expect(logger.lines.length).toBeLessThanOrEqual(5)
  })
})

describe('a connection that is cut', { timeout: 30_000 }, () => {
  const through = () => ({ connection: { connectionString: proxy.through(own.url) } })

  test.each(MODES)('%s, while the worker sleeps: it listens again', async (mode) => {
    const task = numbered('work', { mode })
    const worker = await db.worker([task.handle(() => {})], { ...through(), pollMs: 60_000 })
    for (let round = 0; round < 2; round++) {
      await asleep()
      const restored = next(worker, 'listener.restored')
      proxy.cut()
      await restored
      await wakesUp(worker, task)
    }
  })

  // Mutant: a claim whose answer was lost is forgotten: its jobs stay in the lease for ever, for the worker lives.
  test.each([
    ['at-least-once', 'lock table pgq.leases in share mode'],
    ['transactional', 'select from pgq.workers for update'],
  ] as const)('%s, in the middle of a claim: what was claimed runs, once', async (mode, lock) => {
    const task = numbered('work', { mode })
    const runs = new Map<number, number>()
    const worker = await db.worker([task.handle((n) => void runs.set(n, (runs.get(n) ?? 0) + 1))], through())
    const settled = all(worker, 'job.settled')
    await asleep()
    const release = await db.hold(lock)
    await task.enqueueMany(db.pool, numbers(10))
    await db.blocked()
    proxy.cut()
    await release()
    await until(() => settled.length === 10)
    await db.empty()
    expect(runs.size).toBe(10)
    expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
  })

  // Mutants: claims go one at a time; of several claims whose answers were lost, only the last is remembered.
  test.each(['at-least-once', 'transactional'] as const)(
    '%s, in the middle of two claims: what they claimed runs, once',
    async (mode) => {
      const jobs = numbers(50_000)
      const task = numbered('work', { mode })
      const runs = new Map<number, number>()
      const firstLease = gate<number>()
      const handler = task.handle(async (n) => {
        if (n === 0) firstLease.open(await db.value('select min(number)::integer from pgq.leases'))
        runs.set(n, (runs.get(n) ?? 0) + 1)
      })
      const worker = db.idleWorker([handler], through())
      const [claimed, rescued] = [all(worker, 'jobs.claimed'), all(worker, 'workers.rescued')]
      await task.enqueueMany(db.pool, jobs)
      await worker.start()
      await until(() => runs.size > 2_000)
      const release = await db.hold('lock table pgq.leases in share mode')
      await db.blocked()
      // Its name is sent with each claim, and once more when it is prepared.
      const sent = () =>
        Math.max(...proxy.connections.map((connection) => connection.sent.split('claim_into_lease').length - 2))
      await until(() => sent() - claimed.length === 2, 3_000)
      proxy.pause()
      const claims = sent()
      await release()
      const last = (await firstLease.opened) + claims - 1
      await until(async () => (await db.value('select max(number)::integer from pgq.leases')) === last)
      proxy.cut()
      proxy.resume()
      await until(() => runs.size === jobs.length)
      await db.empty()
      expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
      expect(rescued).toEqual([])
    },
  )

  // Mutant: the lease is read while the old session goes on: the claim commits afterwards, and its lease stays, for the worker lives.
  test('a claim that goes on at the server after its connection broke: what it claimed runs', async () => {
    const task = numbered()
    const worker = await db.worker([task.handle(() => {})], through())
    await asleep()
    const release = await db.hold('lock table pgq.leases in share mode')
    const claiming = (besides = 0) =>
      db.value<number>(`select max(pid) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock' and query like '%with claimed as%' and pid <> ${besides}`)
    let old = 0
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(async () => (old = await claiming()))
    proxy.connections.find(({ sent }) => sent.includes('claim_into_lease'))!.cut()
    await until(() => claiming(old))
    await release()
    await until(() => settled.length === 1)
    await db.empty()
  })

  // Mutant: an acknowledgement that is given up on its first error: the job runs again when the worker ends.
  test.each(MODES)(
    '%s, in the handler: its end is written when the database is back, and it ran once',
    async (mode) => {
      const go = gate()
      const task = numbered('work', { mode })
      let runs = 0
      const worker = await db.worker(
        [
          task.handle(async (_, job: any) => {
            runs += 1
            await go.opened
            if (mode === 'transactional' && runs === 1) await sql`select 1`.execute(job.trx)
          }),
        ],
        through(),
      )
      const settled = all(worker, 'job.settled')
      const started = next(worker, 'job.started')
      await task.enqueue(db.pool, 1)
      await started
      const restored = next(worker, 'listener.restored')
      proxy.cut()
      await restored
      go.open()
      await until(() => settled.some(({ outcome }) => outcome.type === 'success'))
      await db.empty()
      // A transaction ends with its connection: only there the job has to run again.
      expect(runs).toBe(mode === 'transactional' ? 2 : 1)
      expect(await db.rows('select * from pgq.dead_jobs')).toEqual([])
    },
  )

  // Mutant: a COMMIT whose answer was lost taken for one that failed: the handler's effect happens twice, or a second dead letter.
  test.each(['transactional', 'at-most-once'] as const)(
    '%s, in the middle of a COMMIT: it counts once',
    async (mode) => {
      // What a deferred constraint refers to is locked, so that the COMMIT waits for it.
      await admin(`drop table if exists reasons, children; create table reasons (reason text primary key);
      create table children (reason text references reasons deferrable initially deferred);
      insert into reasons values ('exhausted'), ('failed'), ('cancelled'), ('crashed');
      alter table pgq.dead_jobs add constraint reason foreign key (reason) references reasons deferrable initially deferred`)
      const task = numbered('work', mode === 'transactional' ? { mode, retry: { minDelayMs: 10 } } : { mode })
      const [began, go] = [gate(), gate()]
      let runs = 0
      const worker = await db.worker(
        [
          task.handle(async (_, job: any) => {
            runs += 1
            began.open()
            await go.opened
            if (mode === 'at-most-once') throw new Error('the end')
            await sql`insert into children values ('failed')`.execute(job.trx)
          }),
        ],
        through(),
      )
      const settled = all(worker, 'job.settled')
      await task.enqueue(db.pool, 1)
      await began.opened
      const release = await db.hold('select from reasons for update')
      go.open()
      await db.blocked()
      proxy.cut()
      await release()
      await until(() => settled.some(({ settlement }) => settlement.kind !== 'requeue'))
      await db.empty()
      if (mode === 'transactional') expect(await db.value('select count(*)::integer from children')).toBe(1)
      else expect([await db.value('select count(*)::integer from pgq.dead_jobs'), runs]).toEqual([1, 1])
      await admin('alter table pgq.dead_jobs drop constraint reason')
    },
  )

  // Mutant: an acknowledgement whose answer was lost taken for a lost lease, or sent without its token.
  test.each([
    ['complete', 'select from pgq.leases for update'],
    ['bury', 'lock table pgq.dead_jobs in share mode'],
  ] as const)('at-least-once, in the middle of the settlement (%s): it is written once', async (kind, lock) => {
    const task = numbered('work', { retry: { maxAttempts: 1 } })
    const [began, go] = [gate(), gate()]
    let runs = 0
    const worker = await db.worker(
      [
        task.handle(async () => {
          runs += 1
          began.open()
          await go.opened
          if (kind === 'bury') throw new Error('the end')
        }),
      ],
      through(),
    )
    const [settled, lost] = [all(worker, 'job.settled'), all(worker, 'job.lost')]
    await task.enqueue(db.pool, 1)
    await began.opened
    const release = await db.hold(lock)
    go.open()
    await db.blocked()
    proxy.cut()
    await release()
    await until(() => settled.length === 1)
    expect([settled[0]!.settlement.kind, lost.length, runs]).toEqual([kind, 0, 1])
    expect((await db.rows('select state from pgq.job_states')).map(({ state }) => state)).toEqual(
      kind === 'bury' ? ['dead'] : [],
    )
  })
})

describe('pg_terminate_backend', { timeout: 60_000 }, () => {
  // Mutant: no listener for errors of clients in use: the process ends.
  test('of any connection, at random, under load: every job ends, and effects in the database happen once', async () => {
    const held = numbered('held', { mode: 'transactional', retry: { minDelayMs: 10 } })
    const leased = numbered('leased', { retry: { minDelayMs: 10 } })
    const runs = new Map<number, number>()
    const worker = await db.worker(
      [
        leased.handle((n) => {
          runs.set(n, (runs.get(n) ?? 0) + 1)
          return pause(1)
        }),
        held.handle((n, { trx }) => sql`insert into effects values (${n})`.execute(trx)),
      ],
      { concurrency: 4 },
    )
    const ended = all(worker, 'job.settled')
    await leased.enqueueMany(db.pool, numbers(2_000))
    await held.enqueueMany(db.pool, numbers(1_000))
    for (let kill = 0; kill < 25; kill++) {
      await admin(`select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'pgq worker' order by random() limit 1`)
      const [seen, waiting] = [ended.length, await db.value('select count(*)::integer from pgq.jobs')]
      if (waiting > 0) await until(() => ended.length > seen + 20, 10_000).catch(() => {})
    }
    await db.empty(40_000)
    expect(
      await db.value('select count(*)::integer from (select n from effects group by n having count(*) = 1) as once'),
    ).toBe(1_000)
    expect(runs.size).toBe(2_000)
    expect(await db.rows('select * from pgq.dead_jobs')).toEqual([])
  })

  test('of each connection in turn: the worker sleeps and wakes as before', async () => {
    const tasks = MODES.map((mode) => numbered(mode, { mode }))
    const worker = await db.worker(
      tasks.map((task) => task.handle(() => {})),
      { pollMs: 60_000, concurrency: 2 },
    )
    const pids = async () => {
      const rows = await admin(
        "select pid from pg_stat_activity where application_name = 'pgq worker' order by backend_start",
      )
      return rows.map(({ pid }) => pid)
    }
    for (const task of tasks) await wakesUp(worker, task as never)
    for (const pid of await pids()) {
      await admin(`select pg_terminate_backend(${pid}, 5000)`)
      await until(async () => !(await pids()).includes(pid))
      await until(async () => (await db.value(BELLS_OF_THE_LIVING)) === '1')
      for (const task of tasks) await wakesUp(worker, task as never)
    }
  })
})

const BELLS_OF_THE_LIVING = `
  select count(distinct worker_id)
  from pgq.idle_workers join pg_locks on locktype = 'advisory' and objid = worker_id::oid
    and classid = 'pgq.workers'::regclass::oid and database = (select oid from pg_database where datname = current_database())`
