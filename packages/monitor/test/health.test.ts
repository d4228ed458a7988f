import {
  defineTask,
  finishInTransaction,
  fireSchedules,
  pauseQueue,
  pauseSchedule,
  registerWorker,
  typed,
  type WorkerDescription,
} from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { findingsIn } from '../src/findings.js'
import { type HealthFacts, healthFacts } from '../src/health-facts.js'
import { type FindingCode, health } from '../src/index.js'
import { lasting } from '../src/wording.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
const { pool } = queue
beforeEach(() => database.truncate())

const finding = async (code: FindingCode) => (await health(pool)).findings.find((found) => found.code === code)
const codes = async () => (await health(pool)).findings.map(({ code }) => code)

/** A connection of somebody else, closed after the test with whatever it has open. */
async function connect(application = 'report'): Promise<pg.Client> {
  const client = new pg.Client({ connectionString: database.url, application_name: application })
  client.on('error', () => {})
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

/** A worker as it is: its connection holds its liveness lock. */
async function livingWorker(labels: Partial<WorkerDescription> = {}) {
  const client = await connect('pgq worker')
  const worker = { hostname: 'host', pid: 1, queues: ['default'], tasks: ['mail'], ...labels }
  return { client, id: await registerWorker(client, 'pgq', worker) }
}

test('a queue that is well has no findings', async () => {
  await livingWorker()
  await queue.enqueue('mail')
  expect(await health(pool)).toStrictEqual({ status: 'ok', at: expect.any(Date), findings: [], unseen: [] })
})

describe('workers and queues', () => {
  test('a queue that nobody serves', async () => {
    await livingWorker({ queues: ['other'] })
    await queue.enqueue('mail')
    await queue.enqueue('mail', { queue: 'other' })
    expect(await health(pool)).toMatchObject({ status: 'critical', findings: [{ code: 'queue-unserved' }] })
    expect((await finding('queue-unserved'))!.evidence).toMatchObject([{ queue: 'default', ready: 1 }])
  })

  // Mutant: a paused queue as an old or an unserved one.
  test('a paused queue is told as that alone', async () => {
    await queue.enqueue('mail')
    await pauseQueue(pool, 'default')
    await pool.query(`update pgq.jobs set ready_at = now() - interval '1 day'`)
    expect(await health(pool)).toMatchObject({ status: 'ok', findings: [{ code: 'queue-paused', severity: 'info' }] })
  })

  test('a backlog grows old', async () => {
    await livingWorker()
    await queue.enqueue('mail')
    await pool.query(`update pgq.jobs set ready_at = now() - interval '70 s'`)
    expect(await finding('backlog-old')).toMatchObject({ severity: 'warning', evidence: [{ queue: 'default' }] })
    expect((await health(pool, { backlogMs: 80_000 })).findings).toEqual([])
    await pool.query(`update pgq.jobs set ready_at = now() - interval '700 s'`)
    expect(await finding('backlog-old')).toMatchObject({ severity: 'critical' })
  })

  // Mutants: other ready jobs counted; a paused queue's.
  test('jobs that wait too long to run alone', async () => {
    await livingWorker()
    const poison = await queue.enqueue('mail')
    await queue.enqueue('mail')
    await pool.query(`update pgq.jobs set crash_count = 2 where id = $1`, [poison])
    expect(await codes()).toEqual([])
    await pool.query(`update pgq.jobs set ready_at = now() - interval '70 s'`)
    const told = await finding('suspects-wait')
    expect(told).toMatchObject({ severity: 'warning', evidence: [{ queue: 'default', jobs: 1 }] })
    expect(told!.remedy).toContain('pgq cancel')
    await pauseQueue(pool, 'default')
    expect(await codes()).toEqual(['queue-paused'])
  })

  // Mutant: a name that the shell reads as something else.
  test('what to do is said for the command line and for programs', async () => {
    await pauseQueue(pool, `mail's`)
    expect((await finding('queue-paused'))!.remedy).toBe(
      `When that is no longer wanted: pgq resume 'mail'\\''s', or resumeQueue(executor, "mail's").`,
    )
  })

  test('due jobs that nobody made ready', async () => {
    await queue.enqueue('mail', { delayMs: 1_000_000 })
    expect(await codes()).toEqual([])
    await pool.query(`update pgq.jobs set execute_at = now() - interval '2 minutes'`)
    expect(await finding('due-jobs-late')).toMatchObject({ evidence: [{ queue: 'default', scheduled: 1 }] })
  })

  const makeDue = (name: string, ago: string) =>
    pool.query('update pgq.schedules set next_at = now() - $2::interval where name = $1', [name, ago])

  // Mutants: a paused one as late; one that failed; one that is only just due.
  test('schedules that no worker sees to', async () => {
    const mail = defineTask('mail', { args: typed<null>() })
    for (const name of ['late', 'later', 'punctual', 'paused', 'failed', 'never'])
      await mail.schedule(pool, null, { name, everyMs: 3_600_000 })
    await pauseSchedule(pool, 'paused')
    for (const name of ['paused', 'failed']) await makeDue(name, '1 hour')
    await pool.query(`update pgq.schedules set error = 'no' where name = 'failed'`)
    await pool.query(`update pgq.schedules set next_at = 'infinity' where name = 'never'`)
    await makeDue('late', '100 s')
    await makeDue('later', '110 s')
    expect(await codes()).toEqual(['schedule-failed'])
    await makeDue('late', '3 minutes')
    await makeDue('later', '2 hours')
    const due = await queue.stored<Date>(`select next_at from pgq.schedules where name = 'later'`)
    const found = await finding('schedules-late')
    expect(found).toMatchObject({
      severity: 'warning',
      message: `No worker enqueues the jobs of later, late, due since ${due.toISOString()}.`,
      evidence: [{ schedule: 'later', slot: due.toISOString() }, { schedule: 'late' }],
    })
    expect(found!.evidence[0]!.lateMs).toBeGreaterThanOrEqual(7_200_000)
  })

  // Mutants: the last try in place of the slot; one that was paused for it.
  test('schedules whose jobs cannot be enqueued: which, why, and since which slot', async () => {
    const mail = defineTask('mail', { args: typed<null>() })
    await mail.schedule(pool, null, { name: `mail's`, everyMs: 3_600_000 })
    await makeDue(`mail's`, '1 hour')
    const slot = await queue.stored<Date>('select next_at from pgq.schedules')
    await pool.query(`update pgq.schedules set retry = '"often"'`)
    await fireSchedules(pool, 'pgq')
    expect(await health(pool)).toMatchObject({
      status: 'warning',
      findings: [
        {
          code: 'schedule-failed',
          message: expect.stringMatching(
            `^Slots of mail's have no jobs since ${slot.toISOString()}: retry is "often"; use an object`,
          ),
          remedy: expect.stringContaining(`pgq schedules pause 'mail'\\''s', or pauseSchedule(executor, "mail's").`),
          evidence: [{ schedule: `mail's`, slot: slot.toISOString(), error: expect.stringContaining('retry is') }],
        },
      ],
    })
    await mail.schedule(pool, null, { name: 'later', everyMs: 3_600_000 })
    await pool.query(`update pgq.schedules set error = 'no' where name = 'later'`)
    expect((await finding('schedule-failed'))!.message).toContain(
      `Slots of mail's, later have no jobs; of mail's since`,
    )
    for (const name of [`mail's`, 'later']) await pauseSchedule(pool, name)
    expect(await codes()).toEqual([])
  })

  // Mutants: a task that a worker of another queue knows; a worker that is dead.
  test('tasks that no living worker of their queue knows', async () => {
    const { client } = await livingWorker({ tasks: ['mail', 'bill'] })
    await livingWorker({ tasks: ['mail'] })
    await livingWorker({ queues: ['other'], tasks: ['bill'] })
    await queue.enqueue('mail')
    await queue.enqueue('bill')
    expect(await codes()).toEqual([])
    await client.end()
    await gone('pgq worker', 2)
    expect(await finding('tasks-unknown')).toMatchObject({
      evidence: [{ queue: 'default', task: 'bill', jobs: 1 }],
    })
  })

  // Mutants: cancelled jobs as failed ones; what is older than an hour; the task with the fewest named first.
  test('jobs die: of which tasks, and of how many', async () => {
    await livingWorker()
    const count = (minutesAgo: number, task: string, ends: string) =>
      pool.query(
        `insert into pgq.job_stats (begun_at, queue, task, completed, exhausted, failed, crashed, cancelled)
        values (now() - $1 * interval '1 minute', 'default', $2, ${ends})`,
        [minutesAgo, task],
      )
    await count(61, 'mail', '5, 1, 1, 1, 0')
    await count(1, 'mail', '5, 0, 0, 0, 2')
    expect(await codes()).toEqual([])
    await count(59, "mail's", '10, 0, 1, 0, 0')
    await count(2, 'bill', '0, 1, 0, 1, 0')
    await count(1, 'bill', '0, 2, 0, 0, 0')
    expect(await health(pool)).toMatchObject({
      status: 'warning',
      findings: [
        {
          code: 'jobs-die',
          severity: 'warning',
          message: "In the last hour 5 of 22 jobs that ended became dead letters: bill 4, mail's 1.",
          evidence: [
            { task: 'bill', exhausted: 3, failed: 0, crashed: 1 },
            { task: "mail's", exhausted: 0, failed: 1, crashed: 0 },
          ],
        },
      ],
    })
    const { remedy } = (await finding('jobs-die'))!
    expect(remedy).toContain('pgq jobs --state dead --task bill, or failures(executor, { task: "bill" })')
    expect(remedy).toContain('pgq redrive --task bill, or redriveDeadJobs(executor, { task: "bill" })')
  })

  test('a lost worker, with its jobs; worse when nobody is left to rescue them', async () => {
    const { client, id } = await livingWorker()
    const other = await livingWorker()
    await queue.enqueue('mail')
    await queue.claim(id, 1)
    expect(await codes()).toEqual([])
    await client.end()
    await gone('pgq worker', 1)
    expect(await finding('workers-lost')).toMatchObject({
      severity: 'warning',
      message: 'A worker is lost and not rescued yet; 1 job with it.',
      evidence: [{ id, running: 1 }],
    })
    await other.client.end()
    await gone('pgq worker', 0)
    expect(await finding('workers-lost')).toMatchObject({ severity: 'critical' })
  })

  // Mutant: one limit for all: 30 s between two beats are nothing for a lease of 75 s.
  test('silence is judged by the lease of the worker itself', async () => {
    await livingWorker({ leaseMs: 75_000 })
    await pool.query(`update pgq.workers set beat_at = now() - interval '2 minutes'`)
    expect(await codes()).toEqual([])
    await pool.query(`update pgq.workers set beat_at = now() - interval '3 minutes'`)
    expect(await codes()).toEqual(['workers-lost'])
  })

  // Mutants: silence not judged; a worker that has not come back to a restarted server yet taken for lost.
  test('a silent worker is lost, one that is still coming back is not', async () => {
    const { id, client } = await livingWorker()
    await pool.query(`update pgq.workers set beat_at = now() - interval '2 minutes' where id = $1`, [id])
    expect(await codes()).toEqual(['workers-lost'])
    await pool.query(`update pgq.workers set beat_at = now(), epoch = epoch - interval '1 day'`)
    await client.end()
    await gone('pgq worker', 0)
    expect(await codes()).toEqual([])
  })

  test('workers without locks, or without NOTIFY', async () => {
    const { id } = await livingWorker({ locks: false })
    const deaf = await livingWorker({ listens: false })
    expect(await finding('workers-without-locks')).toMatchObject({ severity: 'info', evidence: [{ id }] })
    expect(await finding('workers-without-notify')).toMatchObject({ severity: 'info', evidence: [{ id: deaf.id }] })
    expect((await health(pool)).status).toBe('ok')
  })

  // Mutant: jobs that a transaction of their handler has finished are counted, too.
  test('leases of workers that are not there', async () => {
    const { id } = await livingWorker()
    const finished = await queue.enqueue('mail')
    await queue.enqueue('mail')
    const { number } = await queue.claim(id, 2)
    await finishInTransaction(pool, 'pgq', { workerId: id, number, ordinal: 1 }, finished)
    await pool.query('delete from pgq.workers')
    expect(await finding('leases-orphaned')).toMatchObject({ evidence: [{ workerId: id, jobs: 1 }] })
  })
})

describe('what holds vacuum back', () => {
  /** What would be found later, if everything stayed as it is. */
  const later = (facts: HealthFacts, ms: number, dead = 0) =>
    findingsIn(
      {
        ...facts,
        server: { ...facts.server, nowMs: facts.server.nowMs + ms },
        tables: facts.tables.map((table) => ({ ...table, deadRows: table.table === 'jobs' ? dead : 0 })),
      },
      { backlogMs: 60_000 },
    ).filter(({ code }) => code === 'vacuum-held-back' || code === 'dead-rows')

  // Mutants: the youngest blamed; sessions of other databases; one's own; a transaction number without a snapshot overlooked.
  test.each([
    ['a snapshot', 'begin isolation level repeatable read; select count(*) from pgq.jobs'],
    ['a transaction number', 'begin; select pg_current_xact_id()'],
  ])('a session by %s: named, since when, and what to do', async (_, sql) => {
    const client = await connect('report')
    await client.query(sql)
    const { rows } = await client.query(
      'select pid, xact_start as since from pg_stat_activity where pid = pg_backend_pid()',
    )
    await queue.enqueue('mail') // one transaction later
    const young = await connect('young')
    await young.query('begin isolation level repeatable read; select 1')
    const facts = await healthFacts(pool, {})
    expect(later(facts, 0)).toEqual([])
    // When this one has been there for five minutes, and the younger one not yet.
    const [found, ...more] = later(facts, 300_001 + rows[0].since.getTime() - facts.server.nowMs)
    expect(more).toEqual([])
    expect(found!.message).toContain(`A session ("report", pid ${rows[0].pid})`)
    expect(found!.message).toContain(rows[0].since.toISOString())
    expect(found!.remedy).toContain('left it open')
    expect(found!.remedy).toContain(`pg_terminate_backend(${rows[0].pid})`)
    expect(found!.evidence).toMatchObject([
      { kind: 'session', name: 'report', pid: rows[0].pid, state: 'idle in transaction' },
    ])
  })

  test('is worth a word sooner when there are many dead rows, and critical when there are very many', async () => {
    await (await connect()).query('begin; select pg_current_xact_id()')
    const facts = await healthFacts(pool, {})
    expect(later(facts, 11_000, 99_999)).toEqual([])
    expect(later(facts, 11_000, 100_001)).toMatchObject([{ code: 'vacuum-held-back', severity: 'warning' }])
    expect(later(facts, 11_000, 1_000_001)).toMatchObject([{ severity: 'critical' }])
    expect(later({ ...facts, holders: [] }, 11_000, 100_001)).toMatchObject([{ code: 'dead-rows' }])
  })

  test.each([
    ['replication slot', 'inactive', `pg_drop_replication_slot('gone')`],
    ['replication slot', 'active', 'hot_standby_feedback'],
    ['prepared transaction', null, `rollback prepared 'gone'`],
    ['standby', 'streaming', 'hot_standby_feedback'],
  ] as const)('a %s (%s) has a remedy of its own', async (kind, state, remedy) => {
    const facts = await healthFacts(pool, {})
    const holder = {
      kind,
      name: 'gone',
      pid: null,
      role: null,
      state,
      sinceMs: null,
      query: null,
      transactions: 200_000,
    }
    expect(later({ ...facts, holders: [holder] }, 0)[0]!.remedy).toContain(remedy)
  })

  test('dead rows are those of the queue, as the server counts them', async () => {
    await queue.enqueue('mail')
    const client = await connect()
    await client.query('update pgq.jobs set attempt = 1')
    // A session that ends tells what it did; others do so when they have time.
    await client.end()
    const told = async () => (await healthFacts(pool, {})).tables.find(({ table }) => table === 'jobs')!.deadRows
    const counted = async () =>
      Number(await queue.stored(`select n_dead_tup from pg_stat_user_tables where relid = 'pgq.jobs'::regclass`))
    // What sessions of earlier tests did may be counted between the two: then both are asked again.
    const both = async () => ({ before: await counted(), told: await told(), after: await counted() })
    const seen = await eventually(both, ({ before, after }) => before > 0 && before === after)
    expect(seen.told).toBe(seen.before)
  })

  test('autovacuum that is off for a table', async () => {
    await pool.query('alter table pgq.leases set (autovacuum_enabled = off)')
    const found = await finding('autovacuum-off')
    await pool.query('alter table pgq.leases reset (autovacuum_enabled)')
    expect(found).toMatchObject({ severity: 'critical', evidence: [{ table: 'leases' }] })
    expect(await codes()).toEqual([])
  })
})

describe('locks', () => {
  // Mutant: a question to a table that nobody may read, which waits with the rest.
  test('a table that nobody can read: told at once, by whom, and what was not asked for it', async () => {
    const [holder, waiter] = [await connect('migration'), await connect('enqueuer')]
    await holder.query('begin; lock table pgq.jobs')
    const { rows } = await holder.query('select pg_backend_pid() as pid')
    const waiting = waiter.query(`select pgq.enqueue('mail')`)
    const { findings, unseen } = await eventually(
      () => health(pool),
      ({ findings }) => findings.some(({ code }) => code === 'lock-waits'),
    )
    expect(findings).toMatchObject([
      { code: 'tables-locked', severity: 'critical', evidence: [{ table: 'jobs', pid: rows[0].pid, granted: true }] },
      { code: 'lock-waits', severity: 'warning', evidence: [{ application: 'enqueuer', relation: 'jobs' }] },
    ])
    expect(findings[1]!.evidence[0]!.blockedBy).toContain(`${rows[0].pid} migration`)
    expect(findings[1]!.remedy).toContain(`pg_terminate_backend(${rows[0].pid})`)
    expect(unseen).toEqual([expect.stringContaining(`pid ${rows[0].pid} ("migration") lets nobody read jobs`)])
    await holder.query('rollback')
    await waiting
  })

  // Mutant: a lock that is young is passed over, and with it everything that was not asked.
  test('nothing is well while the tables were not asked, however young the lock is', async () => {
    await (await connect('migration')).query('begin; lock table pgq.jobs')
    const facts = await healthFacts(pool, {})
    const aged = (ageMs: number) =>
      findingsIn({ ...facts, tableLocks: facts.tableLocks.map((lock) => ({ ...lock, ageMs })) }, { backlogMs: 60_000 })
    expect(aged(1)).toMatchObject([{ code: 'tables-locked', severity: 'warning' }])
    expect(aged(1_001)).toMatchObject([{ code: 'tables-locked', severity: 'critical' }])
  })

  test('rows of jobs that somebody locked by hand', async () => {
    await queue.enqueue('mail')
    const [holder, waiter] = [await connect('by hand'), await connect('other hand')]
    await holder.query('begin; select from pgq.jobs for update')
    const waiting = waiter.query('delete from pgq.jobs')
    const found = await eventually(() => finding('lock-waits'), Boolean)
    expect(found!.evidence).toMatchObject([{ application: 'other hand', relation: 'jobs' }])
    expect(found!.evidence[0]!.blockedBy).toContain('by hand')
    await holder.query('rollback')
    await waiting
  })
})

describe('limits of the server', () => {
  test.each([
    ['connections-scarce', { server: { connections: 81, maxConnections: 100 } }, 'warning'],
    ['connections-scarce', { server: { connections: 96, maxConnections: 100 } }, 'critical'],
    ['notify-queue-fills', { server: { notifyQueue: 0.3 } }, 'warning'],
    ['notify-queue-fills', { server: { notifyQueue: 0.8 } }, 'critical'],
    ['transaction-ids-run-out', { server: { frozenAge: 1.2e9 } }, 'warning'],
    ['autovacuum-off', { server: { autovacuum: false } }, 'critical'],
    ['numbers-run-out', { numbers: [{ name: 'workers_id_seq', used: 2e9, most: 2147483647 }] }, 'critical'],
  ] as const)('%s: %o is %s', async (code, change, severity) => {
    const facts = await healthFacts(pool, {})
    const changed = { ...facts, ...change, server: { ...facts.server, ...('server' in change && change.server) } }
    expect(findingsIn(changed, { backlogMs: 60_000 })).toMatchObject([{ code, severity }])
  })

  test('are as the server says', async () => {
    await queue.enqueue('mail')
    await livingWorker()
    await pool.query(`select setval('pgq.workers_id_seq', 2000000000)`)
    const { server, numbers } = await healthFacts(pool, {})
    expect(server).toMatchObject({
      isStandby: false,
      seesSessions: true,
      autovacuum: true,
      maxConnections: expect.any(Number),
    })
    expect(server.connections).toBeGreaterThanOrEqual(2)
    expect(numbers.find(({ name }) => name === 'workers_id_seq')).toMatchObject({ used: 2e9, most: 2147483647 })
    expect(numbers.find(({ name }) => name === 'job_positions')).toMatchObject({ most: 2 ** 47 - 1 })
    expect(await finding('numbers-run-out')).toMatchObject({ severity: 'critical' })
  })

  test('a worker that has counted its leases far', async () => {
    const { id } = await livingWorker()
    await pool.query('insert into pgq.leases (worker_id, number) values ($1, 2000000000)', [id])
    expect(await finding('numbers-run-out')).toMatchObject({ remedy: expect.stringContaining('Restart that worker') })
  })
})

describe('who may ask', () => {
  test('an ordinary role: what it may not see is said', async () => {
    const client = await connect('monitor')
    const role = `health_${database.name}`
    await client.query(`create role ${role}; grant usage on schema pgq to ${role};
      grant select on all tables in schema pgq to ${role}; set role ${role}`)
    const { unseen, findings } = await health(client)
    await client.query(`reset role; drop owned by ${role}; drop role ${role}`)
    expect(findings).toEqual([])
    expect(unseen).toEqual([
      expect.stringContaining('grant pg_read_all_stats'),
      expect.stringMatching(/job_positions.*workers_id_seq.*grant select on all sequences/),
    ])
  })

  test('anybody in a transaction that may not write', async () => {
    const client = await connect()
    await client.query('begin read only')
    expect((await health(client)).status).toBe('ok')
  })

  test('the worst comes first, and is the status', async () => {
    await livingWorker({ listens: false })
    await queue.enqueue('bill')
    await queue.enqueue('mail', { queue: 'nobody' })
    const { status, findings } = await health(pool)
    expect(status).toBe('critical')
    expect(findings.map(({ code }) => code)).toEqual(['queue-unserved', 'tasks-unknown', 'workers-without-notify'])
  })
})

/** Asks until the answer is as it should be. */
async function eventually<Answer>(ask: () => Promise<Answer>, isSo: (answer: Answer) => unknown): Promise<Answer> {
  for (;;) {
    const answer = await ask()
    if (isSo(answer)) return answer
  }
}

/** Resolves when so many sessions of that name are left. */
async function gone(application: string, left: number): Promise<void> {
  const sessions = () =>
    queue.stored<string>(
      'select count(*) from pg_stat_activity where datname = current_database() and application_name = $1',
      [application],
    )
  await eventually(sessions, (count) => Number(count) === left)
}

test('ages are told as people say them', () => {
  expect([1_200, 119_000, 180_000, 3_600_000, 7_200_000, 7_500_000].map(lasting)).toEqual([
    ...['1 s', '119 s', '3 min', '60 min', '2 h', '2 h 5 min'],
  ])
})
