import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  claimAndDelete,
  claimIntoLease,
  enqueueMany,
  finishInTransaction,
  finishState,
  type Return,
  readLease,
  restoreJobs,
  returnJobs,
} from '../src/index.js'
import { claimRequest, leaseJobs, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number, options = {}) => Array.from({ length: count }, (_, args) => ({ args, ...options }))
const done = async () => (await database.rows('select number, done from pgq.leases order by number'))[0]?.done
const NO_HISTORIES = ['{"attempt": 1}', '"no"', '5', 'null']
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

  // Mutant: the history taken apart whatever it is: the statement fails, and with it all that is settled together.
  test.each(NO_HISTORIES)('what SQL wrote as the errors of a job and is no list counts as none: %s', async (errors) => {
    await enqueueMany(pool, 'work', jobs(1))
    await pool.query('update pgq.jobs set errors = $1', [errors])
    const { workerId } = await leaseJobs(pool, [])
    await returnAll(workerId, [{ number: 1, ordinal: 1, kind: 'requeue', attempt: 1, delayMs: 0, error: error(1) }])
    expect(await database.rows('select errors from pgq.jobs')).toEqual([{ errors: [error(1)] }])
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

  test.each(NO_HISTORIES)('errors that are no list count as none: %s', async (errors) => {
    await enqueueMany(pool, 'work', [{ args: 1 }])
    await pool.query('update pgq.jobs set errors = $1', [errors])
    const [job] = await claim()
    await restoreJobs(pool, 'pgq', [{ job: job!, settlement: { kind: 'bury', reason: 'failed', error: error(1) } }])
    expect(await database.rows('select errors from pgq.dead_jobs')).toEqual([{ errors: [error(1)] }])
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
