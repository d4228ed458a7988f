import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  claimAndDelete,
  claimIntoLease,
  claimRank,
  enqueueMany,
  findUnknownTasks,
  promoteDueJobs,
  readLease,
  removeWorker,
} from '../src/index.js'
import { claimRequest, EVERYTHING, inTransaction, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const numbers = (count: number) => Array.from({ length: count }, (_, number) => number)
const enqueueNumbers = (count: number, options: object = {}) =>
  enqueueMany(pool, 'work', numbers(count).map((args) => ({ args, ...options }))) // biome-ignore format: short
const argsOf = (jobs: readonly { args: unknown }[]) => jobs.map(({ args }) => args)

const claims = {
  claimIntoLease: (workerId: number, request = {}) =>
    claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, request), number: ++lastNumber }),
  claimAndDelete: (workerId: number, request = {}) => claimAndDelete(pool, 'pgq', claimRequest(workerId, request)),
}
let lastNumber = 0

describe.each(Object.keys(claims) as (keyof typeof claims)[])('%s', (name) => {
  const claim = claims[name]

  test('takes higher priorities first, then the order of enqueueing', async () => {
    const priorities = [0, 5, -32_768, 32_767, 5, 0, -1]
    await enqueueMany(pool, 'work', priorities.map((priority, args) => ({ args, priority }))) // biome-ignore format: short
    const workerId = await newWorker(pool)
    const jobs = [...(await claim(workerId, { limit: 3 })), ...(await claim(workerId))]
    expect(argsOf(jobs)).toEqual([3, 1, 4, 0, 5, 6, 2])
    expect(jobs.map(({ priority }) => priority)).toEqual([32_767, 5, 5, 0, 0, -1, -32_768])
  })

  test('answers the whole job, its attempt counted', async () => {
    const retry = { maxAttempts: 3 }
    const [{ id } = { id: '' }] = await enqueueMany(pool, 'work', [{ args: { a: [null] }, priority: 7, retry }])
    await pool.query(`update pgq.jobs set attempt = 4, crash_count = 1`)
    const [row] = await database.rows('select * from pgq.jobs')
    const [job, ...none] = await claim(await newWorker(pool))
    expect(none).toEqual([])
    expect(job).toMatchObject({
      id,
      ordinal: 1,
      priority: 7,
      attempt: 5,
      crashCount: 1,
      queue: 'default',
      task: 'work',
    })
    expect(job).toMatchObject({ args: { a: [null] }, retry, createdAt: row.created_at, readyAt: row.ready_at })
    expect(job!.position).toBe(Number(row.position))
    expect(await database.rows('select * from pgq.jobs')).toEqual([])
  })

  test('each job of a mixed batch has what is its own, what its neighbours share, or nothing', async () => {
    const [history, traceparent] = [[{ attempt: 1, message: 'x' }], 'a\u001fb"{}']
    const own = [
      { queue: 'a,b', task: 'say "hi"', args: [''], retry: { factor: 2 } },
      { queue: 'a,b', task: 'say "hi"', args: [null], meta: { traceparent } },
      { queue: '["c"]', task: 'tab\t\u001f,\\', args: 'null', meta: { traceparent }, errors: history },
      { queue: '["c"]', task: 'say "hi"', args: {}, meta: { traceparent: 'other' }, crash_count: 1, attempt: 3 },
      { queue: '["c"]', task: 'say "hi"', args: 5, errors: history, created_at: '1999-12-31T23:59:59.999Z' },
      { queue: '["c"]', task: 'say "hi"', args: 6, ready_at: '2099-01-01T00:00:00.001Z', priority: -5 },
    ]
    await pool.query(
      `insert into pgq.jobs (queue, task, args, meta, retry, errors, priority, attempt, crash_count, created_at, ready_at)
      select queue, task, args, meta, retry, errors, coalesce(priority, 0), coalesce(attempt, 0), coalesce(crash_count, 0),
        coalesce(created_at, now()), coalesce(ready_at, now())
      from json_populate_recordset(null::pgq.jobs, $1)`,
      [JSON.stringify(own)],
    )
    const rows = await database.rows('select * from pgq.jobs order by id')
    const tasks = [...new Set(own.map(({ task }) => task))]
    const jobs = await claim(await newWorker(pool), {
      queues: ['a,b', '["c"]'],
      after: EVERYTHING.after.concat(EVERYTHING.after),
      upto: EVERYTHING.upto.concat(EVERYTHING.upto),
      tasks,
    })
    expect(jobs.sort((a, b) => Number(a.id) - Number(b.id))).toMatchObject(
      rows.map(({ created_at, ready_at, execute_at, crash_count, attempt, position, ...row }) => ({
        ...row,
        createdAt: created_at,
        readyAt: ready_at,
        crashCount: crash_count,
        attempt: attempt + 1,
        position: Number(position),
      })),
    )
  })

  test('leaves what waits for its time, other queues, and tasks that it does not know', async () => {
    await enqueueNumbers(1, { delayMs: 60_000 })
    await enqueueNumbers(1, { queue: 'other' })
    await enqueueMany(pool, 'unknown', [{ args: 'unknown' }])
    await enqueueNumbers(2)
    const workerId = await newWorker(pool)
    expect(argsOf(await claim(workerId))).toEqual([0, 1])
    expect(await claim(workerId)).toEqual([])
    expect(await database.rows('select count(*)::integer as jobs from pgq.jobs')).toEqual([{ jobs: 3 }])
    expect(await findUnknownTasks(pool, 'pgq', { queues: ['default', 'other'], tasks: ['work'] })).toEqual(['unknown'])
    expect(await findUnknownTasks(pool, 'pgq', { queues: ['default'], tasks: ['work', 'unknown'] })).toEqual([])
  })

  test('stops at the limit, over all ranges together', async () => {
    await enqueueNumbers(10)
    await enqueueNumbers(10, { queue: 'other' })
    const workerId = await newWorker(pool)
    const both = {
      queues: ['default', 'other'],
      after: EVERYTHING.after.concat(EVERYTHING.after),
      upto: EVERYTHING.upto.concat(EVERYTHING.upto),
    }
    expect(await claim(workerId, { ...both, limit: 13 })).toHaveLength(13)
    const rest = await claim(workerId, both)
    expect(rest.map(({ queue }) => queue)).toEqual(Array(7).fill('other'))
  })

  test('stops at the bytes, but always takes one', async () => {
    await enqueueMany(pool, 'work', numbers(10).map(() => ({ args: 'x'.repeat(1_000) }))) // biome-ignore format: short
    const workerId = await newWorker(pool)
    expect(await claim(workerId, { maxBytes: 2_500 })).toHaveLength(3)
    expect(await claim(workerId, { maxBytes: 1 })).toHaveLength(1)
    expect(await claim(workerId, { maxBytes: 100_000 })).toHaveLength(6)
  })

  test('a range is what lies above after, up to and with upto, in the order of claimRank', async () => {
    await enqueueMany(pool, 'work', [0, 0, 0, 4, 4].map((priority, args) => ({ args, priority }))) // biome-ignore format: short
    const positions = (await database.rows('select position::integer from pgq.jobs order by position')).map(
      (row) => row.position,
    )
    const range = (after: bigint, upto: bigint) => ({ after: [String(after)], upto: [String(upto)] })
    const workerId = await newWorker(pool)
    expect(await claim(workerId, range(claimRank(0, positions[2]), claimRank(-1, 0)))).toEqual([])
    expect(argsOf(await claim(workerId, range(claimRank(0, positions[0]), claimRank(0, positions[1]))))).toEqual([1])
    expect(argsOf(await claim(workerId, range(claimRank(4, positions[3]), claimRank(3, 0))))).toEqual([4])
    expect(argsOf(await claim(workerId, range(claimRank(9, 0), claimRank(0, positions[0]))))).toEqual([3, 0])
    expect(argsOf(await claim(workerId))).toEqual([2])
  })

  // Caught by: leaving out the claimer with its FOR KEY SHARE.
  test('a worker that is not in the list claims nothing', async () => {
    await enqueueNumbers(1)
    const workerId = await newWorker(pool)
    await removeWorker(pool, 'pgq', { workerId })
    expect(await claim(workerId)).toEqual([])
    expect(await claim(workerId + 1)).toEqual([])
    expect(await database.rows('select args from pgq.jobs')).toHaveLength(1)
  })

  test('passes over rows that another transaction holds', async () => {
    await enqueueNumbers(3)
    const workerId = await newWorker(pool)
    await inTransaction(pool, 'rollback', async (other) => {
      await other.query(`select from pgq.jobs where args::text = '1' for update`)
      expect(argsOf(await claim(workerId))).toEqual([0, 2])
    })
    expect(argsOf(await claim(workerId))).toEqual([1])
  })

  // Caught by: FOR UPDATE without SKIP LOCKED is slow but right; SELECT without a lock hands jobs out twice.
  test('8 claimers at once get each of 20,000 jobs exactly once', { timeout: 60_000 }, async () => {
    await enqueueNumbers(20_000)
    const workerId = await newWorker(pool)
    const claimer = async () => {
      const mine: string[] = []
      for (;;) {
        const jobs = await claim(workerId, { limit: 100 })
        mine.push(...jobs.map(({ id }) => id))
        if (jobs.length === 0 && (await database.rows('select from pgq.jobs limit 1')).length === 0) return mine
      }
    }
    const shares = await Promise.all(numbers(8).map(claimer))
    const ids = shares.flat()
    expect(ids).toHaveLength(20_000)
    expect(new Set(ids).size).toBe(20_000)
    expect(shares.filter((share) => share.length > 0).length).toBeGreaterThan(1)
  })
})

describe('a lease', () => {
  test('holds the batch in arrays, by ordinal; readLease answers the same', async () => {
    await enqueueMany(pool, 'work', [{ args: 'low' }, { args: 'high', priority: 1 }])
    const workerId = await newWorker(pool)
    const jobs = await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number: 5 })
    const [lease] = await database.rows('select * from pgq.leases')
    expect(lease).toMatchObject({ worker_id: workerId, number: '5', done: [] })
    for (const { id, ordinal, args } of jobs) {
      expect([lease.ids[ordinal - 1], lease.args[ordinal - 1]]).toEqual([id, args])
    }
    expect(await readLease(pool, 'pgq', { ...claimRequest(workerId), number: 5 })).toEqual(jobs)
    expect(await readLease(pool, 'pgq', { ...claimRequest(workerId), number: 6 })).toEqual([])
  })

  test('an empty claim leaves none; a number is taken once', async () => {
    const workerId = await newWorker(pool)
    expect(await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number: 1 })).toEqual([])
    expect(await database.rows('select * from pgq.leases')).toEqual([])
    await enqueueNumbers(2)
    const claim = () => claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, { limit: 1 }), number: 1 })
    await claim()
    await expect(claim()).rejects.toMatchObject({ code: '23505' })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 1 }])
    await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
  })
})

test('claimAndDelete in a transaction that rolls back took nothing', async () => {
  await enqueueNumbers(3)
  const before = await database.rows('select * from pgq.jobs order by id')
  const workerId = await newWorker(pool)
  await inTransaction(pool, 'rollback', (trx) => claimAndDelete(trx, 'pgq', claimRequest(workerId)))
  expect(await database.rows('select * from pgq.jobs order by id')).toEqual(before)
})

describe('promoteDueJobs', () => {
  const promote = (queues = ['default'], limit = 100) => promoteDueJobs(pool, 'pgq', { queues, limit })
  const makeDue = (order: string) => pool.query(`update pgq.jobs set execute_at = now() - ${order} * interval '1 s'`)

  test('makes due jobs ready, in the order of their times, behind what is ready', async () => {
    await enqueueNumbers(3, { delayMs: 60_000 })
    await makeDue('(1 + args::text::integer)') // 2 is due since longest
    const times = await database.rows('select execute_at from pgq.jobs order by execute_at')
    await enqueueMany(pool, 'work', [{ args: 'ready' }])
    expect(await promote()).toEqual({
      promoted: 3,
      nextDueMs: null,
      ready: false,
      suspects: false,
      parked: false,
      nextSlotMs: null,
    })
    const rows = await database.rows('select * from pgq.jobs order by position')
    expect(rows.map(({ args }) => args)).toEqual(['ready', 2, 1, 0])
    expect(rows.slice(1).map(({ ready_at }) => ready_at)).toEqual(times.map(({ execute_at }) => execute_at))
    expect(rows.every(({ execute_at }) => execute_at === null)).toBe(true)
  })

  // Mutant: min(execute_at) - now() over all. Before PostgreSQL 17 infinity has no difference to now, and nothing was promoted.
  test('a job that waits for ever is nothing to wait for', async () => {
    await pool.query(`select pgq.enqueue('work', execute_at => 'infinity')`)
    expect(await promote()).toMatchObject({ promoted: 0, nextDueMs: null })
  })

  test('stops at the limit, and tells when the next is due, of these queues only', async () => {
    await enqueueNumbers(5, { delayMs: 60_000 })
    await makeDue('1')
    await enqueueNumbers(1, { delayMs: 50_000 })
    await enqueueNumbers(1, { delayMs: 10_000, queue: 'other' })
    expect(await promote(['default'], 3)).toMatchObject({ promoted: 3 })
    const { promoted, nextDueMs } = await promote()
    expect(promoted).toBe(2)
    expect(nextDueMs).toBeGreaterThan(30_000)
    expect(nextDueMs).toBeLessThanOrEqual(50_000)
    expect((await promote(['default', 'other'])).nextDueMs).toBeLessThanOrEqual(10_000)
    expect(await promote(['nothing'])).toEqual({
      promoted: 0,
      nextDueMs: null,
      ready: false,
      suspects: false,
      parked: false,
      nextSlotMs: null,
    })
  })

  test('says whether a watched task is ready, of these queues only', async () => {
    const ready = async (queues: string[], watchedTasks: string[]) =>
      (await promoteDueJobs(pool, 'pgq', { queues, limit: 1, watchedTasks })).ready
    await enqueueNumbers(1, { delayMs: 60_000 })
    expect(await ready(['default'], ['work'])).toBe(false)
    await enqueueNumbers(1, { queue: 'other' })
    expect(await ready(['default'], ['work'])).toBe(false)
    expect(await ready(['default', 'other'], ['play'])).toBe(false)
    expect(await ready(['default', 'other'], ['play', 'work'])).toBe(true)
  })

  test('two at once promote each job once', async () => {
    await enqueueNumbers(1_000, { delayMs: 60_000 })
    await makeDue('1')
    const promotions = await Promise.all(numbers(4).map(() => promote(['default'], 1_000)))
    expect(promotions.reduce((sum, { promoted }) => sum + promoted, 0)).toBe(1_000)
    expect(await database.rows('select count(distinct position)::integer as n from pgq.jobs')).toEqual([{ n: 1_000 }])
  })
})
