import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  cancelChannel,
  cancelJobs,
  claimAndDelete,
  countMatching,
  enqueueMany,
  redriveDeadJobs,
  removeWorker,
  rescueLostWorkers,
  restoreJobs,
  returnJobs,
} from '../src/index.js'
import { claimRequest, inTransaction, leaseJobs, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number, options = {}) => Array.from({ length: count }, (_, args) => ({ args, ...options }))
const everywhere = async () =>
  Object.fromEntries(
    await Promise.all(
      ['jobs', 'dead_jobs', 'cancellations'].map(async (table) => [
        table,
        (await database.rows(`select count(*)::int from pgq.${table}`))[0].count,
      ]),
    ),
  )
const rescue = async (workerId?: number) =>
  rescueLostWorkers(pool, 'pgq', { workerId: workerId ?? (await newWorker(pool)), maxCrashes: 3 })
const work = { task: 'work' }

test('waiting jobs become dead letters, ready and scheduled ones', async () => {
  await enqueueMany(pool, 'work', [
    { args: 'ready', priority: 3 },
    { args: 'later', delayMs: 60_000 },
  ])
  await enqueueMany(pool, 'play', jobs(1))
  expect(await cancelJobs(pool, work)).toBe(2)
  expect(await database.rows('select args, reason, priority, errors from pgq.dead_jobs order by id')).toEqual([
    { args: 'ready', reason: 'cancelled', priority: 3, errors: null },
    { args: 'later', reason: 'cancelled', priority: 0, errors: null },
  ])
  expect(await everywhere()).toEqual({ jobs: 1, dead_jobs: 2, cancellations: 0 })
})

test('by state, and no more than the limit; then the rest', async () => {
  await leaseJobs(pool, jobs(3))
  await enqueueMany(pool, 'work', jobs(2))
  await enqueueMany(pool, 'work', jobs(1, { delayMs: 60_000 }))
  expect(await cancelJobs(pool, { ...work, state: 'scheduled' })).toBe(1)
  expect(await cancelJobs(pool, work, { limit: 3 })).toBe(3)
  expect(await cancelJobs(pool, work, { limit: 3 })).toBe(2)
  expect(await everywhere()).toEqual({ jobs: 0, dead_jobs: 3, cancellations: 3 })
})

describe('a leased job', () => {
  // Mutant: requests counted again: a caller that goes on while the limit is reached never ends.
  test('is asked once, and every worker can hear of it', async () => {
    const listener = await database.connect()
    const heard = new Promise((resolve) => listener.once('notification', resolve))
    await listener.query(`listen ${cancelChannel('pgq')}`)
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(2))
    expect(await cancelJobs(pool, { ids: [leased[1]!.id] })).toBe(1)
    expect(await heard).toMatchObject({ channel: cancelChannel('pgq'), payload: '' })
    expect(await cancelJobs(pool, { ids: [leased[1]!.id] })).toBe(0)
    expect((await rescue(workerId)).cancelled).toEqual([leased[1]!.id])
  })

  test('that is settled already is left alone', async () => {
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(3))
    await acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [leased[0]!.ordinal] }] })
    await pool.query('insert into pgq.finished_jobs values ($1, 1, $2)', [workerId, leased[1]!.ordinal])
    expect(await cancelJobs(pool, work)).toBe(1)
    expect(await database.rows('select job_id from pgq.cancellations')).toEqual([{ job_id: leased[2]!.id }])
  })

  // Mutant: requests not looked at when jobs come back: a cancelled job is retried, or runs again after its worker stopped.
  test.each([
    { kind: 'requeue', attempt: 1, delayMs: 0 },
    { kind: 'release' },
    { kind: 'bury', reason: 'failed' },
  ] as const)('that its worker settles as $kind ends as cancelled', async (settlement) => {
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(2))
    await cancelJobs(pool, { ids: [leased[0]!.id] })
    const returns = leased.map(({ ordinal }) => ({ number: 1, ordinal, ...settlement }))
    await returnJobs(pool, 'pgq', { workerId, returns })
    const dead = await database.rows('select id, reason from pgq.dead_jobs where id = $1', [leased[0]!.id])
    expect(dead).toEqual([{ id: leased[0]!.id, reason: 'cancelled' }])
    const others = settlement.kind === 'bury' ? { jobs: 0, dead_jobs: 2 } : { jobs: 1, dead_jobs: 1 }
    expect(await everywhere()).toEqual({ ...others, cancellations: 0 })
  })

  // Mutant: the rescue puts it back into the queue.
  test('of a lost worker ends as cancelled', async () => {
    const { workerId, jobs: leased } = await leaseJobs(pool, jobs(2))
    await cancelJobs(pool, { ids: [leased[0]!.id] })
    await pool.query('delete from pgq.workers where id = $1', [workerId])
    expect(await rescue()).toMatchObject({ requeued: 1, buried: 1, cancelled: [leased[0]!.id] })
    expect(await database.rows('select id, reason from pgq.dead_jobs')).toEqual([
      { id: leased[0]!.id, reason: 'cancelled' },
    ])
    expect(await everywhere()).toEqual({ jobs: 1, dead_jobs: 1, cancellations: 0 })
  })

  // Mutant: requests kept for ever.
  test('that succeeded leaves nothing behind', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await cancelJobs(pool, work)
    await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
    await rescue(workerId)
    expect(await everywhere()).toMatchObject({ cancellations: 1 }) // it may have been claimed by then, or be at-most-once
    await pool.query(`update pgq.cancellations set requested_at = now() - interval '61 s'`)
    await rescue(workerId)
    expect(await everywhere()).toEqual({ jobs: 0, dead_jobs: 0, cancellations: 0 })
  })

  // Mutant: old requests dropped whether their jobs run or not.
  test('that goes on for long stays asked', async () => {
    const { workerId } = await leaseJobs(pool, jobs(1))
    await cancelJobs(pool, work)
    await pool.query(`update pgq.cancellations set requested_at = now() - interval '1 hour'`)
    await rescue(workerId)
    expect((await rescue(workerId)).cancelled).toHaveLength(1)
  })
})

describe('a job that is just being claimed', () => {
  // Mutant: what cannot be locked passed over: such a job cannot be cancelled.
  test('is asked to end', async () => {
    await enqueueMany(pool, 'work', jobs(2))
    const workerId = await newWorker(pool)
    await inTransaction(pool, 'commit', async (client) => {
      const [job] = await claimAndDelete(client, 'pgq', claimRequest(workerId, { limit: 1 }))
      expect(await cancelJobs(pool, { ids: [job!.id] })).toBe(1)
      expect((await rescue(workerId)).cancelled).toEqual([job!.id])
      await restoreJobs(client, 'pgq', [{ job: job!, settlement: { kind: 'requeue', attempt: 1, delayMs: 0 } }])
    })
    expect(await everywhere()).toEqual({ jobs: 1, dead_jobs: 1, cancellations: 0 })
  })

  // Mutant: a request for a job that waits again is heard by nobody.
  test('and comes back is buried by the next rescue', async () => {
    await enqueueMany(pool, 'work', jobs(1))
    const workerId = await newWorker(pool)
    await inTransaction(pool, 'rollback', async (client) => {
      await claimAndDelete(client, 'pgq', claimRequest(workerId))
      await cancelJobs(pool, work)
    })
    expect(await everywhere()).toEqual({ jobs: 1, dead_jobs: 0, cancellations: 1 })
    await rescue(workerId)
    expect(await database.rows('select reason from pgq.dead_jobs')).toEqual([{ reason: 'cancelled' }])
    expect(await everywhere()).toEqual({ jobs: 0, dead_jobs: 1, cancellations: 0 })
  })
})

describe('an id that is in no table', () => {
  test('may be an at-most-once job that runs: workers hear of it, but it is not counted', async () => {
    await enqueueMany(pool, 'work', jobs(1))
    const workerId = await newWorker(pool)
    const [job] = await claimAndDelete(pool, 'pgq', claimRequest(workerId))
    expect(await cancelJobs(pool, { ids: [job!.id] })).toBe(0)
    expect((await rescue(workerId)).cancelled).toEqual([job!.id])
    await restoreJobs(pool, 'pgq', [{ job: job!, settlement: { kind: 'bury', reason: 'failed' } }])
    expect(await database.rows('select reason from pgq.dead_jobs')).toEqual([{ reason: 'cancelled' }])
    expect(await everywhere()).toEqual({ jobs: 0, dead_jobs: 1, cancellations: 0 })
  })

  // Mutant: the queue given beside the id is not heeded.
  test('is nothing when more than the id is asked for', async () => {
    expect(await cancelJobs(pool, { ids: ['17'], queue: 'mail' })).toBe(0)
    expect(await everywhere()).toMatchObject({ cancellations: 0 })
  })
})

test('a dead letter is not asked, and one that is redriven is asked no more', async () => {
  const [job] = await enqueueMany(pool, 'work', jobs(1))
  await cancelJobs(pool, work)
  expect(await cancelJobs(pool, { ids: [job!.id] })).toBe(0)
  expect(await everywhere()).toMatchObject({ cancellations: 0 })
  await pool.query('insert into pgq.cancellations values ($1)', [job!.id])
  await redriveDeadJobs(pool, work)
  expect(await everywhere()).toEqual({ jobs: 1, dead_jobs: 0, cancellations: 0 })
})

test('cancelling is part of the transaction that it is called in', async () => {
  const { workerId } = await leaseJobs(pool, jobs(1))
  await enqueueMany(pool, 'work', jobs(1))
  await inTransaction(pool, 'rollback', async (client) => {
    expect(await cancelJobs(client, work)).toBe(2)
    expect((await rescue(workerId)).cancelled).toEqual([])
  })
  expect(await countMatching(pool, 'unfinished', work)).toBe(2)
  await removeWorker(pool, 'pgq', { workerId })
})

// Mutant: no order: each has asked for one job, and waits for the other's request to end.
test('two calls that find the same jobs in different orders do not deadlock', async () => {
  const leases = [await leaseJobs(pool, jobs(1)), await leaseJobs(pool, jobs(1)), await leaseJobs(pool, jobs(1))]
  const [first, middle] = leases.map((lease) => [lease.workerId, lease.jobs[0]!.id])
  const gate = await database.connect()
  await gate.query(`begin; insert into pgq.cancellations values (${middle![1]})`)
  const blocked = async (calls: number) => {
    const waiting = `select count(*)::int from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    await expect.poll(async () => (await database.rows(waiting))[0].count).toBe(calls)
  }
  const one = cancelJobs(pool, work)
  await blocked(1)
  // A changed row lies behind the others: now they are read from the last to the first.
  for (const [workerId] of [middle!, first!])
    await pool.query('update pgq.leases set done = done where worker_id = $1', [workerId])
  const other = cancelJobs(pool, work)
  await blocked(2)
  await gate.query('rollback')
  expect(await Promise.all([one, other])).toEqual([3, 0])
})
