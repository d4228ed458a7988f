import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  areFinished,
  type ClaimedJob,
  claimAndDelete,
  claimIntoLease,
  enqueueMany,
  finishHeld,
  finishInTransaction,
  finishLocked,
  finishState,
  holdsLease,
  LostLeaseError,
  type Return,
  readLease,
  registerWorker,
  rescueLostWorkers,
  restoreJobs,
  returnJobs,
} from '../src/index.js'
import { claimRequest, inTransaction, leaseJobs, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number, options = {}) => Array.from({ length: count }, (_, args) => ({ args, ...options }))
const done = async () => (await database.rows('select number, done from pgq.leases order by number'))[0]?.done
const error = (attempt: number) => ({ attempt, at: new Date(0).toISOString(), name: 'Error', message: `no ${attempt}` })

describe('acknowledge', () => {
  test('a whole lease goes, a part of it is noted', async () => {
    const { workerId } = await leaseJobs(pool, jobs(5))
    expect(await acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [2, 4] }] })).toEqual(
      new Set([1]),
    )
    expect(await acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [5] }] })).toEqual(
      new Set([1]),
    )
    expect(await done()).toEqual([2, 4, 5])
    expect(await database.rows(`select args from pgq.job_states where state = 'running' order by id`)).toEqual([
      { args: 0 },
      { args: 2 },
    ])
    expect(await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })).toEqual(new Set([1]))
    expect(await database.rows('select * from pgq.job_states')).toEqual([])
  })

  // Caught by: leaving out worker_id in either half.
  test('what is not ours is not touched, and not answered', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    const foreign = { workerId: workerId + 1, finished: [1], partial: [{ number: 1, done: [1] }] }
    expect(await acknowledge(pool, 'pgq', foreign)).toEqual(new Set())
    expect(await done()).toEqual([])
    expect(await acknowledge(pool, 'pgq', { workerId, finished: [7, 1], partial: [{ number: 9, done: [1] }] })).toEqual(
      new Set([1]),
    )
  })
})

// Mutant: integer anywhere: a worker would fail for good after its 2,147,483,647th claim, a month of 1,000 claims a second.
test('a lease of a number beyond 32 bits is claimed, read, finished, returned and acknowledged as any other', async () => {
  const number = 2 ** 40
  await enqueueMany(pool, 'work', jobs(3))
  const workerId = await newWorker(pool)
  const claim = { ...claimRequest(workerId), number }
  expect(await claimIntoLease(pool, 'pgq', claim)).toHaveLength(3)
  expect(await readLease(pool, 'pgq', claim)).toHaveLength(3)
  await finishInTransaction(pool, 'pgq', { workerId, number, ordinal: 1 }, '1')
  expect(await finishState(pool, 'pgq', { workerId, number, ordinal: 1 }, '1')).toBe('committed')
  expect(await returnJobs(pool, 'pgq', { workerId, returns: [{ number, ordinal: 2, kind: 'release' }] })).toEqual(
    new Set([number]),
  )
  const partial = [{ number, done: [3] }]
  expect(await acknowledge(pool, 'pgq', { workerId, finished: [], partial })).toEqual(new Set([number]))
  expect(await acknowledge(pool, 'pgq', { workerId, finished: [number], partial: [] })).toEqual(new Set([number]))
  expect(await database.rows('select state from pgq.job_states')).toEqual([{ state: 'ready' }])
})

describe('returnJobs', () => {
  // Mutant: an insert that fails on the id, or the job dropped.
  test('makes a dead letter of one whose id waits already', async () => {
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(2))
    await database.rows(`insert into pgq.jobs (id, task) values ($1, 'new')`, [leased[0]!.id])
    await returnAll(workerId, [
      { number: 1, ordinal: 1, kind: 'requeue', attempt: 1, delayMs: 0 },
      { number: 1, ordinal: 2, kind: 'release' },
    ])
    expect(await database.rows('select task from pgq.jobs order by task')).toEqual([{ task: 'new' }, { task: 'work' }])
    expect(await database.rows('select id, task from pgq.dead_jobs')).toEqual([{ id: leased[0]!.id, task: 'work' }])
  })

  // Mutant: an insert that fails on the id: then nothing that is settled together with it is.
  test('takes the place of a dead letter whose id came twice', async () => {
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(1))
    await database.rows(`insert into pgq.dead_jobs (id, task, reason) values ($1, 'old', 'cancelled')`, [leased[0]!.id])
    await returnAll(workerId, [{ number: 1, ordinal: 1, kind: 'bury', reason: 'failed' }])
    expect(await database.rows('select task, reason from pgq.dead_jobs')).toEqual([{ task: 'work', reason: 'failed' }])
  })

  const returnAll = (workerId: number, returns: Return[]) => returnJobs(pool, 'pgq', { workerId, returns })

  test('requeues behind the others, at once or later, with the attempt and the error', async () => {
    const { workerId } = await leaseJobs(pool, jobs(3, { priority: 2, retry: { maxAttempts: 9 } }))
    await enqueueMany(pool, 'work', [{ args: 'before' }])
    const answered = await returnAll(workerId, [
      { number: 1, ordinal: 1, kind: 'requeue', attempt: 1, delayMs: 0, error: error(1) },
      { number: 1, ordinal: 3, kind: 'requeue', attempt: 0, delayMs: 60_000 },
    ])
    expect(answered).toEqual(new Set([1]))
    const rows = await database.rows('select *, execute_at - now() as delay from pgq.jobs order by position')
    expect(rows).toMatchObject([
      { args: 'before' },
      { args: 0, attempt: 1, priority: 2, retry: { maxAttempts: 9 }, execute_at: null, errors: [error(1)] },
      { args: 2, attempt: 0, errors: null },
    ])
    expect(rows[2].delay.seconds).toBeGreaterThan(30)
    expect(await done()).toEqual([1, 3])
  })

  test('releases as if nothing had been: attempt, position, times and errors kept', async () => {
    await enqueueMany(pool, 'work', jobs(4))
    await pool.query(`update pgq.jobs set attempt = 3, errors = '[{"attempt": 3}]'`)
    const select =
      'select *, xmin::text = xmax::text as nothing, created_at::text as c, ready_at::text as r from pgq.jobs order by position'
    const before = await database.rows(select)
    const { workerId } = await leaseJobs(pool, [])
    await enqueueMany(pool, 'work', [{ args: 'later' }])
    await returnAll(
      workerId,
      [4, 2, 1, 3].map((ordinal) => ({ number: 1, ordinal, kind: 'release' })),
    )
    const after = await database.rows(select)
    expect(after.slice(0, 4)).toEqual(before)
    expect(after[4]).toMatchObject({ args: 'later' })
  })

  test('buries with reason and error', async () => {
    const { workerId, jobs: claimed } = await leaseJobs(pool, jobs(1, { queue: 'default', priority: 4 }))
    await returnAll(workerId, [{ number: 1, ordinal: 1, kind: 'bury', reason: 'exhausted', error: error(1) }])
    expect(await database.rows('select * from pgq.dead_jobs')).toMatchObject([
      { id: claimed[0]!.id, reason: 'exhausted', errors: [error(1)], attempt: 1, priority: 4, args: 0, task: 'work' },
    ])
  })

  // Caught by: leaving out the check of done.
  test('said twice, it happens once', async () => {
    const { workerId } = await leaseJobs(pool, jobs(2))
    const returns: Return[] = [{ number: 1, ordinal: 1, kind: 'requeue', attempt: 1, delayMs: 0 }]
    await returnAll(workerId, returns)
    expect(await returnAll(workerId, returns)).toEqual(new Set([1]))
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 0 }])
  })

  // Caught by: leaving out worker_id.
  test('what is not ours is not touched', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    expect(await returnAll(workerId + 1, [{ number: 1, ordinal: 1, kind: 'release' }])).toEqual(new Set())
    expect(await returnAll(workerId, [{ number: 2, ordinal: 1, kind: 'release' }])).toEqual(new Set())
    expect(await database.rows('select * from pgq.jobs')).toEqual([])
    expect(await done()).toEqual([])
  })

  test('keeps the newest 20 errors, oldest first', async () => {
    const history = Array.from({ length: 25 }, (_, attempt) => error(attempt + 1))
    await enqueueMany(pool, 'work', jobs(1))
    await pool.query('update pgq.jobs set errors = $1', [JSON.stringify(history)])
    const { workerId } = await leaseJobs(pool, [])
    await returnAll(workerId, [{ number: 1, ordinal: 1, kind: 'requeue', attempt: 26, delayMs: 0, error: error(26) }])
    expect((await database.rows('select errors from pgq.jobs'))[0].errors).toEqual([...history.slice(6), error(26)])
  })
})

describe('finishInTransaction', () => {
  const place = (workerId: number, ordinal = 1) => ({ workerId, number: 1, ordinal })

  test('a commit finishes the job: nothing brings it back', async () => {
    const { workerId, jobs: claimed } = await leaseJobs(pool, jobs(2))
    await inTransaction(pool, 'commit', (trx) => finishInTransaction(trx, 'pgq', place(workerId), claimed[0]!.id))
    await returnJobs(pool, 'pgq', {
      workerId,
      returns: [1, 2].map((ordinal) => ({ number: 1, ordinal, kind: 'release' })),
    })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 1 }])
    expect(await database.rows(`select * from pgq.job_states where state = 'running'`)).toEqual([])
  })

  test('a rollback does not', async () => {
    const { workerId, jobs: claimed } = await leaseJobs(pool, jobs(1))
    await inTransaction(pool, 'rollback', (trx) => finishInTransaction(trx, 'pgq', place(workerId), claimed[0]!.id))
    await returnJobs(pool, 'pgq', { workerId, returns: [{ number: 1, ordinal: 1, kind: 'release' }] })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 0 }])
  })

  test('a lease that is lost, or a place that is settled, gives LostLeaseError', async () => {
    const { workerId } = await leaseJobs(pool, jobs(2))
    await acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [1] }] })
    const lost = finishInTransaction(pool, 'pgq', place(workerId), '11')
    await expect(lost).rejects.toThrow(LostLeaseError)
    await expect(lost).rejects.toMatchObject({ code: 'PGQ_LOST_LEASE', jobId: '11' })
    await expect(finishInTransaction(pool, 'pgq', place(workerId + 1, 2), '12')).rejects.toThrow(LostLeaseError)
    await finishInTransaction(pool, 'pgq', place(workerId, 2), '12')
  })

  test('twice in one transaction is once', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await inTransaction(pool, 'commit', async (trx) => {
      await finishInTransaction(trx, 'pgq', place(workerId), '1')
      await finishInTransaction(trx, 'pgq', place(workerId), '1')
    })
    expect(await database.rows('select * from pgq.finished_jobs')).toHaveLength(1)
  })

  // Mutant: the function without the condition on xmin: what both wrote is there twice.
  test('what another transaction has finished is settled', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    const finish = (trx: pg.PoolClient) => finishInTransaction(trx, 'pgq', place(workerId), '1')
    await inTransaction(pool, 'commit', finish)
    await expect(inTransaction(pool, 'commit', finish)).rejects.toThrow(LostLeaseError)
  })

  // Mutant: without its setting, the function keeps the plan that it made while there were few leases.
  test('no plan reads all leases', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await inTransaction(pool, 'commit', async (trx) => {
      await trx.query('analyze pgq.leases')
      const scans = () => trx.query(`select pg_stat_get_xact_numscans('pgq.leases'::regclass) as of_the_table`)
      const { rows } = await scans()
      await finishInTransaction(trx, 'pgq', place(workerId), '1')
      expect((await scans()).rows).toEqual(rows)
    })
  })

  // Caught by: leaving out FOR KEY SHARE and the foreign key.
  test('while its transaction is open, nobody can take the lease away', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await inTransaction(pool, 'commit', async (trx) => {
      await finishInTransaction(trx, 'pgq', place(workerId), '1')
      await inTransaction(pool, 'rollback', async (thief) => {
        await thief.query(`set local lock_timeout = '100ms'`)
        await expect(thief.query('delete from pgq.leases')).rejects.toMatchObject({ code: '55P03' })
      })
    })
  })

  test('the acknowledgement of the lease takes its notes along', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await finishInTransaction(pool, 'pgq', place(workerId), '1')
    await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
    expect(await database.rows('select * from pgq.finished_jobs')).toEqual([])
  })
})

describe('the end of a transactional lease', () => {
  const place = (workerId: number, ordinal = 1, number = 1) => ({ workerId, number, ordinal })
  const finished = () => database.rows('select number::integer, ordinal from pgq.finished_jobs order by 1, 2')
  const gone = { code: '23502', table: 'finished_jobs', column: 'number' }
  const rescue = () => rescueLostWorkers(pool, 'pgq', { workerId: 0, maxCrashes: 3 })

  /** One job in each of two leases of one worker. */
  async function leases({ locks = true } = {}) {
    await enqueueMany(pool, 'work', jobs(2))
    const worker = { hostname: 'here', pid: 1, queues: ['default'], tasks: ['work'], locks }
    const workerId = await registerWorker(pool, 'pgq', worker)
    const claim = async (number: number) =>
      claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, { limit: 1 }), number, transactional: true })
    return { workerId, claimed: [...(await claim(1)), ...(await claim(2))] }
  }

  test('finishHeld: jobs of several leases end with the commit, and not with a rollback', async () => {
    const { workerId } = await leases()
    const places = [place(workerId), place(workerId, 1, 2)]
    await inTransaction(pool, 'rollback', (trx) => finishHeld(trx, 'pgq', places))
    expect(await finished()).toEqual([])
    await inTransaction(pool, 'commit', (trx) => finishHeld(trx, 'pgq', places))
    expect(await finished()).toEqual([
      { number: 1, ordinal: 1 },
      { number: 2, ordinal: 1 },
    ])
    expect(await areFinished(pool, 'pgq', [place(workerId, 2), ...places, place(workerId + 1)])).toEqual([
      ...[false, true, true, false],
    ])
    expect(await areFinished(pool, 'pgq', [])).toEqual([])
    expect(await database.rows('select * from pgq.job_states')).toEqual([])
  })

  test('holdsLease: until it is whole, or was given away', async () => {
    const { workerId } = await leases()
    expect(await holdsLease(pool, 'pgq', place(workerId))).toBe(true)
    expect(await holdsLease(pool, 'pgq', place(workerId, 1, 3))).toBe(false)
    // Mutant: a plain look. A worker whose connections lead to a standby keeps them, and gives up all it claims.
    const readOnly = await database.connect()
    await readOnly.query('set default_transaction_read_only = on')
    await expect(holdsLease(readOnly, 'pgq', place(workerId, 1, 3))).rejects.toMatchObject({ code: '25006' })
    await acknowledge(pool, 'pgq', { workerId, finished: [2], partial: [] })
    expect(await holdsLease(pool, 'pgq', place(workerId, 1, 2))).toBe(false)
    await pool.query('delete from pgq.workers')
    await rescue()
    expect(await holdsLease(pool, 'pgq', place(workerId))).toBe(false)
  })

  test('finishHeld: twice is refused', async () => {
    const { workerId } = await leases()
    await finishHeld(pool, 'pgq', [place(workerId)])
    await expect(finishHeld(pool, 'pgq', [place(workerId)])).rejects.toMatchObject({ code: '23505' })
  })

  // Mutant: the lease is not locked: a rescue gives the job away while its transaction is about to commit.
  test('finishLocked: nobody takes the lease while the transaction is open', async () => {
    const { workerId, claimed } = await leases({ locks: false })
    const [first, second] = claimed as [ClaimedJob, ClaimedJob]
    await pool.query(`update pgq.workers set beat_at = now() - interval '61 s'`)
    await inTransaction(pool, 'commit', async (trx) => {
      await finishLocked(trx, 'pgq', place(workerId), first.id)
      expect(await finishState(pool, 'pgq', place(workerId), first.id)).toBe('open')
      expect(await rescue()).toMatchObject({ workers: [], requeued: 1 })
      expect(await finishState(pool, 'pgq', place(workerId, 1, 2), second.id)).toBe('rolled back')
    })
    expect(await finishState(pool, 'pgq', place(workerId), first.id)).toBe('committed')
    expect(await rescue()).toMatchObject({ workers: [workerId], requeued: 0 })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 1 }])
  })

  test('finishLocked: without its lease, or in a place that is settled, the transaction cannot commit', async () => {
    const { workerId, claimed } = await leases()
    await acknowledge(pool, 'pgq', { workerId, finished: [2], partial: [{ number: 1, done: [1] }] })
    for (const number of [1, 2])
      await expect(finishLocked(pool, 'pgq', place(workerId, 1, number), claimed[0]!.id)).rejects.toMatchObject(gone)
  })
})

describe('restoreJobs', () => {
  const claim = async () => claimAndDelete(pool, 'pgq', claimRequest(await newWorker(pool)))

  test('a release is as if nothing had been', async () => {
    const args = [-0, null, { a: [1e21, '\u2028"'], ['__proto__']: 1 }, 'x']
    await enqueueMany(pool, 'work', args.map((args) => ({ args, priority: 3, retry: { jitter: 0 } }))) // biome-ignore format: short
    await pool.query(`update pgq.jobs set attempt = 3, crash_count = 1, errors = '[{"attempt": 3}]'`)
    // Times pass through JavaScript, which has milliseconds.
    const select = `select *, args::text as text, retry::text as retry, date_trunc('ms', created_at) as c from pgq.jobs order by position`
    const before = await database.rows(select)
    const claimed = await claim()
    await restoreJobs(pool, 'pgq', claimed.map((job) => ({ job, settlement: { kind: 'release' } }))) // biome-ignore format: short
    expect(await database.rows(select)).toEqual(before)
    expect(before.map(({ text }) => text)).toEqual(['-0', 'null', '{"a":[1e+21,"\u2028\\""],"__proto__":1}', '"x"'])
  })

  // Mutant: args or meta as JSON inside the JSON, which PostgreSQL takes apart with all that is in it.
  test('what jsonb refuses, and SQL may enqueue all the same, goes back letter by letter', async () => {
    await enqueueMany(pool, 'work', [{ args: 1 }, { args: 2 }])
    await pool.query(String.raw`update pgq.jobs set args = '{"a": "\u0000\ud800"}', meta = '{"b":"\u0000\udc00"}'`)
    const [released, failed] = await claim()
    await restoreJobs(pool, 'pgq', [
      { job: released!, settlement: { kind: 'release' } },
      { job: failed!, settlement: { kind: 'bury', reason: 'failed', error: error(1) } },
    ])
    for (const table of ['jobs', 'dead_jobs'])
      expect(await database.rows(`select args::text, meta::text from pgq.${table}`)).toEqual([
        { args: String.raw`{"a": "\u0000\ud800"}`, meta: String.raw`{"b":"\u0000\udc00"}` },
      ])
  })

  test('a handler that changed its args has not changed the job', async () => {
    await enqueueMany(pool, 'work', [{ args: { items: [1, 2] } }, { args: { items: [3] } }])
    const claimed = await claim()
    const args = claimed.map((job) => job.args as { items: unknown[] })
    args[0]!.items.pop()
    args[1]!.items.push(args) // a cycle
    await restoreJobs(pool, 'pgq', [
      { job: claimed[0]!, settlement: { kind: 'requeue', attempt: 1, delayMs: 0, error: error(1) } },
      { job: claimed[1]!, settlement: { kind: 'bury', reason: 'failed', error: error(1) } },
    ])
    expect(await database.rows('select args, attempt, errors from pgq.jobs')).toEqual([
      { args: { items: [1, 2] }, attempt: 1, errors: [error(1)] },
    ])
    expect(await database.rows('select args, attempt, reason from pgq.dead_jobs')).toEqual([
      { args: { items: [3] }, attempt: 1, reason: 'failed' },
    ])
  })
})
