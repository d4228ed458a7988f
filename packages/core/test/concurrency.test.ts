import { describe, expect, test } from 'vitest'
import {
  acknowledge,
  claimIntoLease,
  claimParkedIntoLease,
  defineTask,
  type Executor,
  enqueue,
  enqueueMany,
  findFreePlaces,
  finishHeld,
  forgetHolds,
  parkRefusedJobs,
  pauseQueue,
  retryScheduledJobs,
  typed,
} from '../src/index.js'
import { claimRequest, inTransaction, newWorker, queueDatabase } from './queue-database.js'

const { pool, rows } = await queueDatabase()

const put = (count: number, key = 'a', options: object = {}) =>
  enqueueMany(
    pool,
    'work',
    Array.from({ length: count }, (_, n) => ({ args: { n }, concurrency: { key }, ...options })),
  )
const claim = (workerId: number, number: number, limit = 100) =>
  claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, { limit }), number })
const parked = () =>
  rows<{ n: number }>(`select args -> 'n' as n from pgq.jobs where execute_at = 'infinity' order by position`)
const claimParked = async (workerId: number, number: number, request: object = {}, executor: Executor = pool) => {
  const places = [{ queue: 'default', key: 'a' }]
  const jobs = await claimParkedIntoLease(executor, 'pgq', {
    workerId,
    number,
    tasks: ['work'],
    knownTasks: ['work', 'other'],
    limit: 10,
    maxBytes: 1_000_000,
    places,
    ...request,
  })
  return jobs.map(({ args }) => (args as { n: number }).n)
}
const START = { queue: '', key: '' }

/** One of two jobs of the key has run, the other is parked. Answers the worker. */
const afterTheFirstOfTwo = async () => {
  await put(2)
  const workerId = await newWorker(pool)
  await claim(workerId, 1)
  await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
  return workerId
}

describe('options', () => {
  const task = defineTask('work', { args: typed<object>() })
  test.each([
    [{ key: '' }, 'The key "" is not allowed: use a text of 1 to 200 characters.'],
    [{ key: 'a', max: 0 }, 'enqueue of task "work": concurrency.max is 0; use a whole number from 1 to 10000.'],
    [{ key: 'a', max: 1.5 }, 'enqueue of task "work": concurrency.max is 1.5; use a whole number from 1 to 10000.'],
    [{ key: 'a', limit: 2 }, 'enqueue of task "work": concurrency: unknown option limit'],
    ['a', 'enqueue of task "work": concurrency: the options are "a"; give an object with key, max.'],
  ])('%j', async (concurrency, message) => {
    await expect(task.enqueue(pool, {}, { concurrency: concurrency as never })).rejects.toThrow(message)
  })

  test('an at-most-once task has none', async () => {
    const once = defineTask('once', { args: typed<object>(), mode: 'at-most-once' })
    await expect(once.enqueue(pool, {}, { concurrency: { key: 'a' } as never })).rejects.toThrow(
      'enqueue of task "once": an at-most-once job leaves nothing in the database while it runs, so nobody could count it',
    )
  })

  test('what a job carries, beside its unique key and more', async () => {
    await enqueue(pool, 'work', {}, { concurrency: { key: 'a', max: 3 }, unique: { key: 'b' } })
    expect(await rows('select meta from pgq.jobs')).toEqual([
      { meta: { concurrencyKey: 'a', concurrencyMax: '3', key: 'b' } },
    ])
  })

  test('from SQL', async () => {
    expect(await rows(`select pgq.concurrency('a') as one, pgq.concurrency('ä 😀', 10000) as many`)).toEqual([
      { one: { concurrencyKey: 'a', concurrencyMax: '1' }, many: { concurrencyKey: 'ä 😀', concurrencyMax: '10000' } },
    ])
    await expect(pool.query(`select pgq.concurrency('')`)).rejects.toThrow(
      'key is ""; use a text of 1 to 200 characters.',
    )
    await expect(pool.query(`select pgq.concurrency(null)`)).rejects.toThrow('key is null; use a text')
    await expect(pool.query(`select pgq.concurrency('a', 0)`)).rejects.toThrow(
      'max is 0; use a whole number from 1 to 10000.',
    )
  })
})

test('a claim keeps the first of a key and parks the others, at once also those that would come next', async () => {
  await put(20)
  await put(1, 'b')
  const workerId = await newWorker(pool)
  const jobs = await claim(workerId, 1, 3)
  const refused = await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  expect([jobs.map(({ ordinal }) => ordinal), refused]).toEqual([[1, 2, 3], new Set([2, 3])])
  expect((await parked()).map(({ n }) => n)).toEqual(Array.from({ length: 19 }, (_, n) => n + 1))
  // As they were: the attempt that did not run is not counted.
  expect(await rows(`select distinct attempt, crash_count from pgq.jobs`)).toEqual([{ attempt: 0, crash_count: 0 }])
  expect((await claim(workerId, 2)).map(({ meta }) => meta?.concurrencyKey)).toEqual(['b'])
})

test('asked again, it answers the same and parks nothing twice', async () => {
  await put(3)
  const workerId = await newWorker(pool)
  await claim(workerId, 1)
  const first = await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  expect(await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })).toEqual(first)
  expect(await parked()).toHaveLength(2)
  expect(await rows('select job_id from pgq.concurrency_holds')).toHaveLength(1)
})

test('the next ones are taken when one has ended, in order, and by nobody before', async () => {
  await put(4, 'a', { concurrency: { key: 'a', max: 2 } })
  const workerId = await newWorker(pool)
  await claim(workerId, 1)
  await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  expect(await claimParked(workerId, 2)).toEqual([])
  expect(await findFreePlaces(pool, 'pgq', { ...START, queues: ['default'] })).toEqual([])
  await acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [1] }] })
  expect(await findFreePlaces(pool, 'pgq', { ...START, queues: ['default'] })).toEqual([
    { queue: 'default', key: 'a', free: true, last: false },
  ])
  expect(await findFreePlaces(pool, 'pgq', { ...START, queues: ['other'] })).toEqual([])
  expect(await claimParked(workerId, 2, { tasks: ['other'] })).toEqual([])
  await pauseQueue(pool, 'default')
  expect(await claimParked(workerId, 2)).toEqual([])
  await pool.query('delete from pgq.queues')
  expect(await claimParked(workerId, 2)).toEqual([2])
  await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
  expect(await claimParked(workerId, 3)).toEqual([3])
  expect(await rows('select job_id from pgq.concurrency_holds')).toHaveLength(2)
})

// Mutant: without the look at what is parked, a job that comes just then passes them.
test('a job that comes when one has just ended lines up behind those that are parked', async () => {
  const workerId = await afterTheFirstOfTwo()
  await enqueue(pool, 'work', { n: 9 }, { concurrency: { key: 'a' } })
  await claim(workerId, 2)
  expect(await parkRefusedJobs(pool, 'pgq', { workerId, number: 2 })).toEqual(new Set([1]))
  expect(await claimParked(workerId, 3)).toEqual([1])
  await acknowledge(pool, 'pgq', { workerId, finished: [3], partial: [] })
  expect(await claimParked(workerId, 4)).toEqual([9])
})

test('a more urgent one that comes then runs before them', async () => {
  const workerId = await afterTheFirstOfTwo()
  await enqueue(pool, 'work', { n: 9 }, { concurrency: { key: 'a' }, priority: 1 })
  await claim(workerId, 2)
  expect(await parkRefusedJobs(pool, 'pgq', { workerId, number: 2 })).toEqual(new Set())
})

test('what a lost worker held counts no more', async () => {
  await put(2)
  const workerId = await newWorker(pool)
  await claim(workerId, 1)
  await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  await pool.query('delete from pgq.leases')
  expect(await claimParked(await newWorker(pool), 1)).toEqual([1])
})

// Mutant: the count without the lock.
test('of many leases at the same time one has the key: that of the first job', async () => {
  const workerId = await newWorker(pool)
  for (let round = 0; round < 10; round++) {
    const key = `key ${round}`
    await put(8, key)
    for (let number = 1; number <= 8; number++) await claim(workerId, round * 10 + number, 1)
    const refused = await Promise.all(
      Array.from({ length: 8 }, (_, n) => parkRefusedJobs(pool, 'pgq', { workerId, number: round * 10 + n + 1 })),
    )
    expect(refused.map(({ size }) => size)).toEqual([0, 1, 1, 1, 1, 1, 1, 1])
    await pool.query('delete from pgq.leases; delete from pgq.jobs')
  }
})

test('an urgent job and a parked one do not both take the room of one that has ended', async () => {
  const workerId = await afterTheFirstOfTwo()
  let deciding: Promise<Set<number>> | undefined
  await inTransaction(pool, 'commit', async (client) => {
    expect(await claimParked(workerId, 2, {}, client)).toEqual([1])
    await enqueue(pool, 'work', { n: 9 }, { concurrency: { key: 'a' }, priority: 1 })
    await claim(workerId, 3)
    deciding = parkRefusedJobs(pool, 'pgq', { workerId, number: 3 })
    const waiting = `select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`
    while ((await rows(waiting)).length === 0);
  })
  expect(await deciding).toEqual(new Set([1]))
})

// Mutant: a row of concurrency_holds counts until its lease is written.
test('what a transaction has finished counts no more, and does not come before others', async () => {
  await put(3)
  const workerId = await newWorker(pool)
  await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number: 1, transactional: true })
  await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  await finishHeld(pool, 'pgq', [{ workerId, number: 1, ordinal: 1 }])
  expect(await findFreePlaces(pool, 'pgq', { ...START, queues: ['default'] })).toHaveLength(1)
  expect(await claimParked(workerId, 2)).toEqual([1])
  await acknowledge(pool, 'pgq', { workerId, finished: [2], partial: [] })
  expect(await claimParked(workerId, 3)).toEqual([2])
})

// Mutant: each claim looks through all jobs of all leases for each of its keys: beside 20 leases of 500 it took 9 s.
test('what was decided of leases is not looked at again', async () => {
  const workerId = await newWorker(pool)
  for (const [key, number] of [
    ['a', 1],
    ['b', 2],
  ] as const) {
    await put(2, key)
    await claim(workerId, number)
    expect(await rows('select number from pgq.leases where undecided is not null')).toEqual([
      { number: String(number) },
    ])
    await parkRefusedJobs(pool, 'pgq', { workerId, number })
  }
  await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
  await claimParked(workerId, 3)
  await put(1, 'c')
  await claim(workerId, 4)
  expect(await parkRefusedJobs(pool, 'pgq', { workerId, number: 4 })).toEqual(new Set())
  expect(await rows('select from pgq.leases where undecided is not null')).toEqual([])
})

test('a parked job that is replaced, or made ready with others, keeps its place', async () => {
  const unique = (n: number, options: object = { concurrency: { key: 'a' } }) =>
    enqueueMany(pool, 'work', [{ args: { n }, unique: { key: 'one', ifWaiting: 'replace' }, ...options }])
  await put(2)
  await unique(5)
  await put(1)
  const workerId = await newWorker(pool)
  await claim(workerId, 1)
  await parkRefusedJobs(pool, 'pgq', { workerId, number: 1 })
  await unique(6)
  expect(await retryScheduledJobs(pool, { queue: 'default' })).toBe(0)
  expect((await parked()).map(({ n }) => n)).toEqual([1, 6, 0])
  await unique(7, { concurrency: { key: 'b' } })
  expect((await parked()).map(({ n }) => n)).toEqual([1, 7, 0])
  expect(await findFreePlaces(pool, 'pgq', { ...START, queues: ['default'] })).toMatchObject([{ key: 'b', free: true }])
  // Without a key, it has nothing to wait for.
  await unique(8, {})
  expect((await parked()).map(({ n }) => n)).toEqual([1, 0])
})

test('what SQL alone can write does not keep other jobs from becoming ready', async () => {
  const metas = [
    '{"concurrencyKey": "a", "other": "\\ud800"}',
    '{"concurrencyKey": "a", "other": "\\udc00\\ud800"}',
    JSON.stringify({ concurrencyKey: 'x'.repeat(201) }),
    '{"concurrencyKey": "\\ud83d\\ude00"}',
  ]
  for (const meta of metas) await pool.query(`select pgq.enqueue('work', delay_ms => 1, meta => $1)`, [meta])
  await pool.query('update pgq.jobs set execute_at = null')
  expect(await rows('select pgq.concurrency_key(meta) as key from pgq.jobs order by id')).toEqual([
    { key: null },
    { key: null },
    { key: null },
    { key: '😀' },
  ])
})

test('parked jobs with large args are taken up a few at a time, as others are claimed', async () => {
  await put(5, 'a', { concurrency: { key: 'a', max: 5 } })
  await pool.query(`update pgq.jobs set execute_at = 'infinity'`)
  const workerId = await newWorker(pool)
  expect(await claimParked(workerId, 1, { maxBytes: 1 })).toEqual([0])
  expect(await claimParked(workerId, 2, { maxBytes: 16 })).toEqual([1, 2])
  expect(await claimParked(workerId, 3)).toEqual([3, 4])
})

// Mutants: without the condition, all of them go; without the lock's look, none does.
test('what lost workers held is removed, and what runs is not', async () => {
  await put(1)
  await put(1, 'b')
  const workerId = await newWorker(pool)
  await claim(workerId, 1, 1)
  await claim(workerId, 2, 1)
  for (const number of [1, 2]) await parkRefusedJobs(pool, 'pgq', { workerId, number })
  await pool.query('delete from pgq.leases where number = 1')
  await forgetHolds(pool, 'pgq', {})
  expect(await rows('select key from pgq.concurrency_holds')).toEqual([{ key: 'b' }])
})

// Mutant: each look begins with the first key: those behind 1,000 whose jobs run would never be seen.
test('a look for free places says where the next one goes on', async () => {
  await pool.query(`
    insert into pgq.jobs (task, execute_at, meta)
    select 'work', 'infinity', pgq.concurrency('key ' || n) from generate_series(1001, 2001) as n`)
  const first = await findFreePlaces(pool, 'pgq', { ...START, queues: ['default'] })
  expect([first.length, first.filter(({ last }) => last)]).toEqual([
    1_000,
    [{ queue: 'default', key: 'key 2000', free: true, last: true }],
  ])
  const { queue, key } = first.at(-1)!
  expect(await findFreePlaces(pool, 'pgq', { queue, key, queues: ['default'] })).toEqual([
    { queue: 'default', key: 'key 2001', free: true, last: false },
  ])
})
