import type pg from 'pg'
import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  areFinished,
  type ClaimedJob,
  claimIntoLease,
  enqueueMany,
  finishHeld,
  finishInTransaction,
  finishLocked,
  finishState,
  holdsLease,
  LostLeaseError,
  registerWorker,
  rescueLostWorkers,
  returnJobs,
} from '../src/index.js'
import { claimRequest, inTransaction, leaseJobs, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number) => Array.from({ length: count }, (_, args) => ({ args }))

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

  // Mutant: only what the transaction wrote outside of its savepoints is its own: what was released is refused as somebody else's.
  test.each(['release savepoint a', 'rollback to savepoint a', 'savepoint b'])(
    'twice in one transaction is once, also with a savepoint: %s',
    async (between) => {
      const { workerId } = await leaseJobs(pool, jobs(2))
      await inTransaction(pool, 'commit', async (trx) => {
        await finishInTransaction(trx, 'pgq', place(workerId, 2), '2')
        await trx.query('savepoint a')
        for (const ordinal of [1, 2]) await finishInTransaction(trx, 'pgq', place(workerId, ordinal), String(ordinal))
        await trx.query(between)
        for (const ordinal of [1, 2]) await finishInTransaction(trx, 'pgq', place(workerId, ordinal), String(ordinal))
      })
      expect(await database.rows('select * from pgq.finished_jobs')).toHaveLength(2)
    },
  )

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
