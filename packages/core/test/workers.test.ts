import { once } from 'node:events'
import { startPostgres } from '@pgq/test-db'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import {
  acknowledge,
  beat,
  claimIntoLease,
  claimSuspectIntoLease,
  endSession,
  enqueueMany,
  fenceLease,
  finishHeld,
  finishInTransaction,
  goAlone,
  LostLeaseError,
  lockLiveness,
  lookAtOthers,
  readLease,
  registerWorker,
  removeWorker,
  rescueLostWorkers,
  returnJobs,
  workersChannel,
} from '../src/index.js'
import { claimRequest, inTransaction, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number) => Array.from({ length: count }, (_, args) => ({ args }))
/** By somebody who is not in the list, and so does not count as lost. */
const rescue = (request = {}) => rescueLostWorkers(pool, 'pgq', { workerId: 0, maxCrashes: 3, ...request })

const EPOCH = 'greatest(pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time())'
const epochHere = async () => (await database.rows(`select ${EPOCH}::text as epoch`))[0].epoch

/** A worker on a connection of its own, with a lease of `count` jobs. */
async function workerWithLease(count: number) {
  const client = await database.connect()
  const workerId = await newWorker(client)
  if (count > 0) await enqueueMany(pool, 'work', jobs(count))
  const claimed = await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 1 })
  return { client, workerId, claimed }
}

/** A worker with one job in a transactional lease. */
async function transactionalWorker(client?: pg.Client) {
  client ??= await database.connect()
  const workerId = await newWorker(client)
  await enqueueMany(pool, 'work', jobs(1))
  await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 1, transactional: true })
  return { client, workerId }
}

/** Ends a connection, and waits until the server has ended the session, too. */
async function close(client: pg.Client): Promise<void> {
  const { rows } = await client.query('select pg_backend_pid() as pid')
  await client.end()
  while ((await database.rows('select from pg_stat_activity where pid = $1', [rows[0].pid])).length > 0);
}

const WAITING_RESCUES = `select from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock' and query like '%pg_postmaster_start_time%'`

describe('registration', () => {
  test('gives new ids, and tells the others', async () => {
    const listener = await database.connect()
    await listener.query(`listen ${workersChannel('pgq')}`)
    const heard = once(listener, 'notification')
    const first = await newWorker(pool)
    await removeWorker(pool, 'pgq', { workerId: first })
    expect(await newWorker(pool)).toBeGreaterThan(first)
    expect(await heard).toMatchObject([{ channel: 'pgq_pgq_workers' }])
  })

  test('holds the liveness lock from the start', async () => {
    const { workerId } = await workerWithLease(1)
    expect(await rescue()).toMatchObject({ workers: [], requeued: 0 })
    expect(await beat(pool, 'pgq', workerId)).toMatchObject({ others: 0 })
  })

  test('a beat of one that was removed answers null', async () => {
    const workerId = await newWorker(pool)
    await newWorker(pool)
    expect(await beat(pool, 'pgq', workerId)).toMatchObject({ others: 1 })
    await removeWorker(pool, 'pgq', { workerId })
    expect(await beat(pool, 'pgq', workerId)).toBeNull()
  })

  test('removal waits while a lease is left', async () => {
    const { client, workerId } = await workerWithLease(1)
    await removeWorker(client, 'pgq', { workerId })
    expect(await beat(pool, 'pgq', workerId)).not.toBeNull()
    await acknowledge(client, 'pgq', { workerId, finished: [1], partial: [] })
    await removeWorker(client, 'pgq', { workerId })
    expect(await beat(pool, 'pgq', workerId)).toBeNull()
  })
})

// Mutant: without the version: PostgreSQL 14 waits for a file in each beat.
test('PostgreSQL 14 is not asked when its statistics were reset', async () => {
  await pool.query(`create schema fourteen;
    create function fourteen.current_setting(text) returns text language sql as $$ select '140000' $$;
    create function fourteen.pg_stat_get_bgwriter_stat_reset_time() returns timestamptz language plpgsql as $$ begin raise 'asked'; end $$`)
  onTestFinished(() => pool.query('drop schema fourteen cascade') as Promise<never>)
  const client = await database.connect()
  await client.query('set search_path to fourteen, pg_catalog')
  const workerId = await newWorker(pool)
  const [{ epoch }] = await database.rows('select pg_postmaster_start_time()::text as epoch')
  expect(await beat(client, 'pgq', workerId)).toMatchObject({ epoch })
  expect(await rescueLostWorkers(client, 'pgq', { workerId, maxCrashes: 3, settledOn: epoch })).toMatchObject({ epoch })
})

test('a look at the others: how many, and whether any holds jobs', async () => {
  const workerId = await newWorker(pool)
  const seen = () => lookAtOthers(pool, 'pgq', workerId)
  await pool.query('insert into pgq.leases (worker_id, number, ids) values ($1, 1, array[7])', [workerId])
  expect(await seen()).toEqual({ others: 0, busy: false })
  await newWorker(pool)
  expect(await seen()).toEqual({ others: 1, busy: false })
  for (const other of [workerId - 1, workerId + 1]) {
    await pool.query('insert into pgq.leases (worker_id, number, ids) values ($1, 1, array[7])', [other])
    expect(await seen()).toEqual({ others: 1, busy: true })
    await pool.query('delete from pgq.leases where worker_id = $1', [other])
  }
})

/** What the statistics say. */
const lostAndCrashed = () => database.rows('select task, lost, crashed from pgq.job_stats')

describe('endSession', () => {
  const pidOf = async (client: pg.Client): Promise<number> =>
    (await client.query('select pg_backend_pid() as pid')).rows[0].pid

  test('ends a session of the worker, and says whether it was there', async () => {
    const client = await database.connect()
    const session = { workerId: await newWorker(client), backendPid: await pidOf(client) }
    const ended = new Promise((resolve) => client.once('end', resolve))
    expect(await endSession(pool, 'pgq', session)).toBe(true)
    await ended
    while (await endSession(pool, 'pgq', session));
  })

  // Mutant: whoever has that pid, which the server may have given to somebody else by now.
  test('leaves the sessions of others alone', async () => {
    const client = await database.connect()
    const workerId = await newWorker(client)
    const backendPid = await pidOf(client)
    expect(await endSession(pool, 'pgq', { workerId: workerId + 1, backendPid })).toBe(false)
    expect(await pidOf(client)).toBe(backendPid)
  })
})

describe('rescue', () => {
  test('is needed where there are other workers, leases, or jobs that were asked to end', async () => {
    const workerId = await newWorker(await database.connect())
    const isNeeded = async () => {
      const { others, busy } = await lookAtOthers(pool, 'pgq', workerId)
      return others > 0 || busy
    }
    expect(await isNeeded()).toBe(false)
    await pool.query('insert into pgq.cancellations (job_id) values (1)')
    expect(await isNeeded()).toBe(true)
    await pool.query(
      'delete from pgq.cancellations; insert into pgq.leases (worker_id, number, ids) values (0, 1, array[7])',
    )
    expect(await isNeeded()).toBe(true)
    await pool.query('delete from pgq.leases')
    await newWorker(await database.connect())
    expect(await isNeeded()).toBe(true)
  })

  // Mutant: the attempt kept: what a poison job stood beside is "exhausted" at its first failure.
  test('gives the jobs of a closed connection back, in their places, with one more crash and no attempt', async () => {
    await enqueueMany(pool, 'work', [{ args: 'a', priority: 2, retry: { jitter: 0 } }, { args: 'b' }, { args: 'c' }])
    await pool.query(`update pgq.jobs set errors = '[{"attempt": 9}]', attempt = 9 where args::text = '"a"'`)
    const select =
      'select id, position, created_at, ready_at, priority, queue, task, args, retry, errors from pgq.jobs order by position'
    const before = await database.rows(select)
    const { client, workerId, claimed } = await workerWithLease(0)
    const done = claimed.filter(({ args }) => args === 'b').map(({ ordinal }) => ordinal)
    await acknowledge(client, 'pgq', { workerId, finished: [], partial: [{ number: 1, done }] })
    await close(client)
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 2, buried: 0 })
    expect(await database.rows(select)).toEqual([before[0], before[2]])
    expect(await database.rows('select attempt, crash_count from pgq.jobs order by position')).toEqual([
      { attempt: 9, crash_count: 1 },
      { attempt: 0, crash_count: 1 },
    ])
    expect(await database.rows('select * from pgq.leases')).toEqual([])
    expect(await beat(pool, 'pgq', workerId)).toBeNull()
  })

  test('a second connection with the lock keeps the worker alive', async () => {
    const { client, workerId } = await workerWithLease(1)
    const second = await database.connect()
    await lockLiveness(second, 'pgq', { workerId })
    await close(client)
    expect((await rescue()).workers).toEqual([])
    await close(second)
    expect((await rescue()).workers).toEqual([workerId])
  })

  // Mutant: the sessions are left alone: a frozen process keeps its transactions, and with them its jobs, for ever.
  test('an old beat is enough, though the connection is open: its sessions are ended', async () => {
    const { client, workerId } = await workerWithLease(1)
    const ended = new Promise((resolve) => client.once('end', resolve))
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s' where id = $1`, [workerId])
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 1, endedBackends: 1 })
    await ended
  })

  // Mutant: the rescuer's lease for all: a worker that beats every 48 s was dead for one that waits for 30.
  test('how old a beat may be is for the worker itself to say', async () => {
    const labels = { hostname: 'here', pid: 1, queues: [], tasks: [], locks: false }
    const calm = await registerWorker(pool, 'pgq', { ...labels, leaseMs: 120_000 })
    const quick = await registerWorker(pool, 'pgq', { ...labels, leaseMs: 10_000 })
    const beatAgo = (seconds: number) =>
      pool.query(`update pgq.workers set beat_at = now() - $1 * interval '1 s'`, [seconds])
    await beatAgo(5)
    expect((await rescue()).workers).toEqual([])
    await beatAgo(61)
    expect((await rescue()).workers).toEqual([quick])
    await beatAgo(121)
    expect((await rescue()).workers).toEqual([calm])
  })

  test('the transactional lease of a silent worker: its sessions are ended, then its job is free', async () => {
    const { client, workerId } = await transactionalWorker()
    const ended = new Promise((resolve) => client.once('end', resolve))
    await client.query('begin')
    await finishHeld(client, 'pgq', [{ workerId, number: 1, ordinal: 1 }])
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s' where id = $1`, [workerId])
    let { workers, endedBackends } = await rescue()
    expect(endedBackends).toBe(1)
    await ended
    // A session that ends at once leaves its lease to the same statement.
    while (workers.length === 0) ({ workers } = await rescue())
    expect(await database.rows('select args, attempt, crash_count from pgq.jobs')).toEqual([
      { args: 0, attempt: 0, crash_count: 1 },
    ])
  })

  // Mutant: it is taken like the others: its job runs again, and what its handler wrote is committed all the same.
  test('the transactional lease of a silent worker is left while a session lives that cannot be ended', async () => {
    // Another role's: a rescuer ends those of its own alone.
    const role = `other_${database.name}`
    const url = new URL(database.url)
    await pool.query(`create role ${role} superuser login password '${url.password}'`)
    url.username = role
    const client = new pg.Client(url.href)
    onTestFinished(async () => {
      await client.end()
      await pool.query(`drop role ${role}`)
    })
    await client.connect()
    const { workerId } = await transactionalWorker(client)
    await enqueueMany(pool, 'work', [{ args: 1 }])
    await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 2 })
    await client.query('begin')
    await finishHeld(client, 'pgq', [{ workerId, number: 1, ordinal: 1 }])
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s' where id = $1`, [workerId])
    expect(await rescue()).toMatchObject({ workers: [], requeued: 1, endedBackends: 0 })
    expect(await database.rows('select number::integer from pgq.leases')).toEqual([{ number: 1 }])
    await client.query('commit')
    await close(client)
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 0 })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 1 }])
  })

  test('what a sleeper says of its lease comes too late', async () => {
    const { workerId } = await workerWithLease(1)
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s' where id = $1`, [workerId])
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 1 })
    const client = await database.connect()

    // Now the sleeper wakes up: whatever it says of its lease comes too late.
    expect(await acknowledge(client, 'pgq', { workerId, finished: [1], partial: [] })).toEqual(new Set())
    expect(await acknowledge(client, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [1] }] })).toEqual(
      new Set(),
    )
    expect(
      await returnJobs(client, 'pgq', { workerId, returns: [{ number: 1, ordinal: 1, kind: 'release' }] }),
    ).toEqual(new Set())
    const finish = finishInTransaction(client, 'pgq', { workerId, number: 1, ordinal: 1 }, '1')
    await expect(finish).rejects.toThrow(LostLeaseError)
    expect(await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 2 })).toEqual([])
    expect(await beat(client, 'pgq', workerId)).toBeNull()
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 0 }])
  })

  // Mutant: the lock judged without the epoch: a restart of the server makes every living worker's jobs run twice.
  test('a worker that has not come back to a restarted server is spared until the rescuer has settled in', async () => {
    const { client, workerId } = await workerWithLease(1)
    await pool.query(`update pgq.workers set epoch = 'epoch'`)
    await close(client)
    expect(await rescue({ settledOn: null })).toMatchObject({ workers: [], requeued: 0 })
    expect(await rescue({ settledOn: '2026-01-01 00:00:00+00' })).toMatchObject({ workers: [], requeued: 0 })
    expect(await rescue({ settledOn: await epochHere() })).toMatchObject({ workers: [workerId], requeued: 1 })
  })

  // Mutant: the start of the postmaster as the epoch: it stays the same, while all sessions end and their locks go.
  test('a server that begins anew after a crash of one of its processes is another one', async () => {
    const server = await startPostgres()
    onTestFinished(() => server.stop())
    const connect = async () => {
      const client = new pg.Client(server.url)
      client.on('error', () => {})
      await client.connect()
      return client
    }
    const epochOf = async (client: pg.Client) => (await client.query(`select ${EPOCH}::text as epoch`)).rows[0].epoch
    const victim = await connect()
    // The postmaster ends it when it has seen the crash, and from then on lets nobody in until the server has begun anew.
    const bystander = await connect()
    const sawCrash = new Promise((resolve) => bystander.once('end', resolve))
    const before = await epochOf(victim)
    const started = (client: pg.Client) => client.query('select pg_postmaster_start_time() as at')
    const { rows } = await started(victim)
    const { rows: [{ pid }] } = await victim.query('select pg_backend_pid() as pid') // biome-ignore format: short
    process.kill(pid, 'SIGKILL')
    await sawCrash
    let again: pg.Client | undefined
    while (!again) again = await connect().catch(() => undefined)
    onTestFinished(() => again!.end())
    expect((await started(again)).rows).toEqual(rows)
    expect(await epochOf(again)).not.toBe(before)
  })

  // Mutants: the beats of others judged while its own looks as old; judged again at once.
  test('nobody is taken for silent when the clock of the server was put forward', async () => {
    await workerWithLease(1)
    const rescuer = await newWorker(pool)
    await pool.query(`update pgq.workers set beat_at = now() - interval '1 hour'`)
    const answer = await rescue({ workerId: rescuer })
    expect(answer).toMatchObject({ workers: [], requeued: 0, endedBackends: 0 })
    expect(Math.round(answer.silentForMs / 60_000)).toBe(60)
    const later = await rescue({ workerId: rescuer, judgesSilent: false })
    expect(later).toMatchObject({ workers: [], endedBackends: 0 })
    expect(later.silentForMs).toBeLessThan(30_000)
    expect(await rescue({ workerId: rescuer })).toMatchObject({ requeued: 1, endedBackends: 1 })
  })

  // Mutants: an insert that fails on the id, so that nobody is rescued any more; two letters of one id written by one statement.
  test('jobs whose ids came twice become dead letters, and the others go back', async () => {
    const [one, two] = [await workerWithLease(3), await workerWithLease(1)]
    const [first, second] = one.claimed
    await pool.query(`insert into pgq.jobs (id, task) values ($1, 'new')`, [first!.id])
    await pool.query('update pgq.leases set ids = array[$1::bigint] where worker_id = $2', [second!.id, two.workerId])
    await Promise.all([close(one.client), close(two.client)])
    expect(await rescue()).toMatchObject({ requeued: 1, buried: 2 })
    const dead = await database.rows('select id, reason from pgq.dead_jobs order by id')
    expect(dead).toEqual([first, second].map((job) => ({ id: job!.id, reason: 'crashed' })))
  })

  // Mutant: a lease that is empty keeps its worker; one whose number is free is claimed after it was looked for.
  test('a claim that comes after its number was taken fails, and leaves its jobs where they are', async () => {
    const client = await database.connect()
    const workerId = await newWorker(client)
    await enqueueMany(pool, 'work', jobs(2))
    await fenceLease(pool, 'pgq', { workerId, number: 1 })
    expect(await readLease(pool, 'pgq', { workerId, number: 1 })).toEqual([])
    const claim = claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 1 })
    await expect(claim).rejects.toMatchObject({ code: '23505' })
    expect(await database.rows('select from pgq.jobs')).toHaveLength(2)
    await removeWorker(client, 'pgq', { workerId })
    expect(await database.rows('select from pgq.workers')).toEqual([])
  })

  // Mutant: an empty lease counts: for the life of a worker that took one back, all others would look for what there is to rescue.
  test('a worker whose claim was taken back holds nothing', async () => {
    const { workerId } = await workerWithLease(0)
    const { workerId: rescuer } = await workerWithLease(0)
    await fenceLease(pool, 'pgq', { workerId, number: 1 })
    expect(await lookAtOthers(pool, 'pgq', rescuer)).toEqual({ others: 1, busy: false })
    expect(await rescue({ workerId: rescuer })).toMatchObject({ others: 1, busy: 0 })
  })

  // Mutant: the beat judged without the epoch: after an outage that is longer than the lease, everybody looks silent.
  test('nor does its old beat count until then', async () => {
    const { workerId } = await workerWithLease(1)
    await pool.query(`update pgq.workers set epoch = 'epoch', beat_at = now() - interval '61 s'`)
    expect(await rescue({ settledOn: null })).toMatchObject({ workers: [], requeued: 0, endedBackends: 0 })
    expect(await rescue({ settledOn: await epochHere() })).toMatchObject({
      workers: [workerId],
      requeued: 1,
      endedBackends: 1,
    })
  })

  test('a beat names the server that the lock is held on', async () => {
    const { client, workerId } = await workerWithLease(1)
    await pool.query(`update pgq.workers set epoch = 'epoch'`)
    const { epoch } = (await beat(client, 'pgq', workerId))!
    await close(client)
    const answer = await rescue({ settledOn: null, workerId: await newWorker(pool) })
    expect(answer).toMatchObject({ workers: [workerId], epoch })
  })

  test('a worker without locks is judged by its beat alone', async () => {
    const workerId = await registerWorker(pool, 'pgq', {
      hostname: 'here',
      pid: 1,
      queues: [],
      tasks: [],
      locks: false,
      listens: false,
    })
    expect(await database.rows('select locks, listens from pgq.workers')).toEqual([{ locks: false, listens: false }])
    expect(await rescue()).toMatchObject({ workers: [] })
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s'`)
    expect(await rescue()).toMatchObject({ workers: [workerId] })
  })

  test('a lease that belongs to no worker goes back', async () => {
    const { workerId } = await workerWithLease(3)
    await pool.query('delete from pgq.workers where id = $1', [workerId])
    expect(await rescue()).toMatchObject({ workers: [], requeued: 3 })
    expect(await database.rows('select count(*)::integer as n from pgq.jobs')).toEqual([{ n: 3 }])
  })

  test('beats for itself, and tells how many others there are and how many of them hold jobs', async () => {
    await workerWithLease(2)
    await workerWithLease(0)
    const { workerId } = await workerWithLease(0)
    await pool.query(`update pgq.workers set beat_at = 'epoch' where id = $1`, [workerId])
    expect(await rescue({ workerId })).toMatchObject({ others: 2, busy: 1 })
    expect(await rescue({ workerId: 0 })).toMatchObject({ epoch: null, workers: [] })
  })

  // Mutant: no delay: a poison job that is picked up at once takes one worker after the other.
  test('the first crash costs no time, further ones do', async () => {
    await enqueueMany(pool, 'work', jobs(2))
    await pool.query('update pgq.jobs set crash_count = args::text::integer')
    await close((await workerWithLease(0)).client)
    await rescue()
    const delays = `select extract(epoch from execute_at - now())::double precision as s from pgq.jobs order by crash_count`
    const [first, second] = (await database.rows(delays)).map(({ s }) => s)
    expect(first).toBeNull()
    expect(second).toBeCloseTo(1, 0)
  })

  test('does not rescue itself', async () => {
    const { client, workerId } = await workerWithLease(1)
    await pool.query(`update pgq.workers set beat_at = 'epoch'`)
    expect((await rescueLostWorkers(client, 'pgq', { workerId, maxCrashes: 3 })).workers).toEqual([])
  })

  // Mutants: a crash counts whatever else the worker ran; the bound of two left out.
  test('what stood beside others is never buried, however often their workers are lost', async () => {
    await enqueueMany(pool, 'work', jobs(3))
    await pool.query('update pgq.jobs set crash_count = 1')
    await close((await workerWithLease(0)).client)
    expect(await rescue()).toMatchObject({ requeued: 3, buried: 0 })
    await pool.query('update pgq.jobs set execute_at = null')
    const { client, workerId } = await workerWithLease(0)
    // A suspect that was not claimed as one.
    await pool.query('update pgq.jobs set crash_count = 1 where args::text = $1', ['0'])
    await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 2 })
    await pool.query('update pgq.leases set crash_counts = array[2]')
    await close(client)
    expect(await rescue()).toMatchObject({ requeued: 1, buried: 0 })
    expect(await database.rows('select crash_count from pgq.jobs')).toEqual(Array(3).fill({ crash_count: 2 }))
  })

  test('what took its workers down maxCrashes times, the last time alone, is buried', async () => {
    await enqueueMany(pool, 'work', jobs(2))
    await pool.query('update pgq.jobs set crash_count = 2 + args::text::integer')
    for (const [crashes, expected] of [
      [4, { requeued: 1, buried: 0 }],
      [4, { requeued: 0, buried: 1 }],
    ] as const) {
      const { client, workerId } = await workerWithLease(0)
      await goAlone(client, 'pgq', claimRequest(workerId))
      await claimSuspectIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 1 })
      await close(client)
      expect(await rescue({ maxCrashes: crashes })).toMatchObject(expected)
    }
    expect(await database.rows('select args, crash_count, execute_at is null as ready from pgq.jobs')).toEqual([
      { args: 0, crash_count: 3, ready: false },
    ])
    const [dead] = await database.rows('select * from pgq.dead_jobs')
    expect(dead).toMatchObject({
      args: 1,
      crash_count: 4,
      attempt: 0,
      reason: 'crashed',
      errors: [{ name: 'CrashError', attempt: 1 }],
    })
    expect(dead.errors[0].message).toContain('4 times in all')
    expect(new Date(dead.errors[0].at).getTime()).toBeGreaterThan(Date.now() - 60_000)
    expect(await lostAndCrashed()).toEqual([
      { task: 'work', lost: 1, crashed: 0 },
      { task: 'work', lost: 1, crashed: 1 },
    ])
  })

  test('a job finished in a committed transaction does not come back', async () => {
    const { client, workerId } = await workerWithLease(3)
    const place = (ordinal: number) => ({ workerId, number: 1, ordinal })
    await inTransaction(pool, 'commit', (trx) => finishInTransaction(trx, 'pgq', place(1), '1'))
    await inTransaction(pool, 'rollback', (trx) => finishInTransaction(trx, 'pgq', place(2), '2'))
    await close(client)
    expect(await rescue()).toMatchObject({ requeued: 2 })
    expect(await database.rows('select args from pgq.jobs order by id')).toEqual([{ args: 1 }, { args: 2 }])
    expect(await database.rows('select * from pgq.finished_jobs')).toEqual([])
  })

  // Caught by: FOR UPDATE OF held without SKIP LOCKED hangs; without FOR KEY SHARE in finish the job runs twice.
  test('a lease with an open finish is left for the next rescue, and so is its worker', async () => {
    const { client, workerId } = await workerWithLease(1)
    await inTransaction(pool, 'commit', async (trx) => {
      await finishInTransaction(trx, 'pgq', { workerId, number: 1, ordinal: 1 }, '1')
      await close(client)
      expect(await rescue()).toMatchObject({ workers: [], requeued: 0 })
    })
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 0 })
    expect(await database.rows('select * from pgq.job_states')).toEqual([])
  })

  // Mutant: it waits for the other lease, too: a worker that froze amid its finish held up all its transactional jobs.
  test('the transactional lease of a lost worker is taken beside an open finish of another lease', async () => {
    const { client, workerId } = await transactionalWorker()
    await enqueueMany(pool, 'work', [{ args: 1 }])
    await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 2 })
    await inTransaction(pool, 'commit', async (trx) => {
      await finishInTransaction(trx, 'pgq', { workerId, number: 2, ordinal: 1 }, '2')
      await close(client)
      expect(await rescue()).toMatchObject({ workers: [], requeued: 1 })
    })
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 0 })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 0 }])
  })

  // Mutant: the lease is an orphan's, and is taken like any other.
  test('a transactional lease without a worker is left while a session of that worker lives', async () => {
    const { client } = await transactionalWorker()
    await pool.query('delete from pgq.workers')
    expect(await rescue()).toMatchObject({ requeued: 0 })
    await close(client)
    expect(await rescue()).toMatchObject({ requeued: 1 })
  })

  // Mutant: the rescue looks at finished_jobs itself, as they were when it began; its effects happened twice in long chaos.
  test('a finish that commits when the rescue has begun, and has not locked the lease yet, is seen', async () => {
    const { client, workerId } = await workerWithLease(2)
    const rescuer = await newWorker(pool)
    const blocker = await database.connect()
    let rescued!: ReturnType<typeof rescue>
    await inTransaction(pool, 'commit', async (trx) => {
      await finishInTransaction(trx, 'pgq', { workerId, number: 1, ordinal: 1 }, '1')
      await close(client)
      await blocker.query(`begin; select from pgq.workers where id = ${rescuer} for update`)
      // It waits to write its own beat, with its view of the tables taken.
      rescued = rescue({ workerId: rescuer })
      while ((await database.rows(WAITING_RESCUES)).length === 0);
    })
    await blocker.query('commit')
    expect(await rescued).toMatchObject({ workers: [workerId], requeued: 1 })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 1 }])
  })

  test('two rescuers at once give each job back once', async () => {
    const lost = await Promise.all([1, 2, 3, 4].map(() => workerWithLease(0)))
    await enqueueMany(pool, 'work', jobs(400))
    for (const { client, workerId } of lost) {
      await claimIntoLease(client, 'pgq', { ...claimRequest(workerId), number: 2 })
    }
    await Promise.all(lost.map(({ client }) => close(client)))
    const rescues = await Promise.all([rescue(), rescue(), rescue()])
    expect(rescues.flatMap(({ workers }) => workers).sort()).toEqual(lost.map(({ workerId }) => workerId).sort())
    expect(await database.rows('select count(*)::integer as n, max(crash_count) as crashes from pgq.jobs')).toEqual([
      { n: 400, crashes: 1 },
    ])
  })
})
