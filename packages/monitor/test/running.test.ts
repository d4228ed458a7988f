import {
  acknowledge,
  enqueueMany,
  hangDoorbell,
  NotMigratedError,
  pauseQueue,
  rescueLostWorkers,
  resumeQueue,
} from '@pgq/core'
import { createDatabase, testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { beforeEach, describe, expect, inject, onTestFinished, test } from 'vitest'
import {
  backlog,
  countJobs,
  failures,
  getJob,
  getSchedule,
  health,
  listDead,
  listReady,
  listRunning,
  listScheduled,
  listSchedules,
  listWorkers,
  statistics,
  statisticsByTask,
} from '../src/index.js'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())

describe('listRunning', () => {
  // Mutants: done places or finished jobs listed; since of the job's creation; the jobs of transactional leases left out.
  test('tells who runs what, since when, and which attempt', async () => {
    const { ids, workers } = await everyState(queue)
    const jobs = await listRunning(queue.pool)
    const told = jobs.map(({ id, mode, worker, attempt }) => [id, mode, worker.id, attempt])
    expect(told).toEqual(
      [
        [ids.leased, 'at-least-once', workers.worker, 1],
        [ids.bill, 'at-least-once', workers.worker, 1],
        [ids.leasedToo, 'at-least-once', workers.worker, 1],
        [ids.held, 'transactional', workers.holder, 1],
      ].sort(bySince(jobs)),
    )
    expect(jobs.find(({ id }) => id === ids.held)).toMatchObject({ worker: { hostname: 'host' } })
    expect(jobs.find(({ id }) => id === ids.leased)!.since).toEqual(
      await queue.stored('select claimed_at from pgq.leases order by number limit 1'),
    )
  })

  test('answers at most the limit, those that run longest first, and filters', async () => {
    const { ids } = await everyState(queue)
    expect((await listRunning(queue.pool, { limit: 1 })).map(({ id }) => id)).toEqual([ids.leased])
    expect((await listRunning(queue.pool, { task: 'bill' })).map(({ id }) => id)).toEqual([ids.bill])
    expect(await listRunning(queue.pool, { queue: 'other' })).toEqual([])
  })

  test('answers each its own args, when asked', async () => {
    const { ids } = await everyState(queue)
    const jobs = await listRunning(queue.pool, { withArgs: true })
    const name = Object.fromEntries(jobs.map(({ id, args }) => [id, (args as { name: string }).name]))
    expect(name).toEqual({
      ...{ [ids.leased]: 'leased', [ids.bill]: 'bill', [ids.leasedToo]: 'leasedToo' },
      ...{ [ids.held]: 'held' },
    })
    expect((await listRunning(queue.pool)).some((job) => 'args' in job)).toBe(false)
  })

  test('counts crashes apart from attempts', async () => {
    await queue.enqueue('mail')
    const lost = await queue.worker()
    await queue.claim(lost, 1)
    await queue.pool.query(`update pgq.workers set beat_at = 'epoch'`)
    await rescueLostWorkers(queue.pool, 'pgq', { workerId: await queue.worker(), maxCrashes: 3 })
    const second = await queue.worker()
    await queue.claim(second, 1)
    expect(await listRunning(queue.pool)).toMatchObject([{ attempt: 1, crashCount: 1, worker: { id: second } }])
  })
})

const bySince = (jobs: readonly { id: string }[]) => (a: unknown[], b: unknown[]) =>
  jobs.findIndex(({ id }) => id === a[0]) - jobs.findIndex(({ id }) => id === b[0])

describe('getJob', () => {
  test('finds a job wherever it is', async () => {
    const { ids, workers } = await everyState(queue)
    const stateOf = async (id: string) => (await getJob(queue.pool, id)).state
    const states = await Promise.all(Object.entries(ids).map(async ([name, id]) => [name, await stateOf(id)]))
    expect(Object.fromEntries(states)).toEqual({
      ...{ done: 'missing', finished: 'missing', retried: 'scheduled', buried: 'dead', leased: 'running' },
      ...{ bill: 'running', leasedToo: 'running', held: 'running', committed: 'missing' },
      ...{ ready: 'ready', readyToo: 'ready', delayed: 'scheduled', elsewhere: 'ready' },
    })
    expect(await getJob(queue.pool, ids.held)).toMatchObject({
      ...{ mode: 'transactional', attempt: 1, since: expect.any(Date), worker: { id: workers.holder }, errors: [] },
    })
    expect(await getJob(queue.pool, ids.leasedToo, { withArgs: true })).toMatchObject({
      ...{ id: ids.leasedToo, mode: 'at-least-once', worker: { id: workers.worker }, args: { name: 'leasedToo' } },
    })
  })

  test('tells the history of a dead letter', async () => {
    const { ids } = await everyState(queue)
    expect(await getJob(queue.pool, ids.buried)).toStrictEqual({
      ...{ state: 'dead', id: ids.buried, queue: 'default', task: 'mail', priority: 0, attempt: 1, crashCount: 0 },
      createdAt: await queue.stored('select created_at from pgq.dead_jobs'),
      diedAt: await queue.stored('select died_at from pgq.dead_jobs'),
      errors: [{ attempt: 1, at: '2026-01-02T03:04:05.678Z', name: 'Error', message: 'for good' }],
      reason: 'failed',
      meta: null,
    })
  })

  test('keeps history and retry policy through a lease', async () => {
    const retry = JSON.stringify({ maxAttempts: 3 })
    const id = await queue.stored<string>(`select pgq.enqueue('mail', retry => $1)::text`, [retry])
    await queue.pool.query(`update pgq.jobs set errors = '[{"message": "first"}, {"message": "second"}]'`)
    const history = { retry: { maxAttempts: 3 }, errors: [{ message: 'first' }, { message: 'second' }] }
    expect(await getJob(queue.pool, id)).toMatchObject({ state: 'ready', ...history })
    await queue.claim(await queue.worker(), 1)
    expect(await getJob(queue.pool, id)).toMatchObject({ state: 'running', ...history })
  })

  // Mutants: the meta of one place left out, or taken from another job of the lease.
  test('tells what a job carries beside its args, wherever it is', async () => {
    await queue.enqueue('mail')
    const [waiting] = await enqueueMany(queue.pool, 'mail', [{ unique: { key: 'order 7' } }])
    const id = waiting!.id
    const carried = { meta: { key: 'order 7' } }
    expect(await getJob(queue.pool, id)).toMatchObject({ state: 'ready', ...carried })
    await queue.claim(await queue.worker(), 2)
    expect(await getJob(queue.pool, id)).toMatchObject({ state: 'running', ...carried })
    await queue.pool.query(`
      delete from pgq.leases;
      insert into pgq.dead_jobs (id, queue, task, meta) values (${id}, 'a', 'b', '{"key": "order 7"}'), (7, 'a', 'b', '"boom"')`)
    expect(await getJob(queue.pool, id)).toMatchObject({ state: 'dead', ...carried })
    // SQL may have written anything.
    expect(await getJob(queue.pool, '7')).toMatchObject({ state: 'dead', meta: null })
  })

  // Mutant: a history that SQL wrote taken as it is: the page of such a job stays empty.
  test('answers errors only, whatever SQL wrote among them', async () => {
    const id = await queue.stored<string>(
      `insert into pgq.dead_jobs (id, queue, task) values (7, 'a', 'b') returning id::text`,
    )
    for (const [written, errors] of [
      ['"boom"', []],
      ['{"message": "no list"}', []],
      ['[1, null, {"message": "only"}, "last"]', [{ message: 'only' }]],
    ] as const) {
      await queue.pool.query('update pgq.dead_jobs set errors = $1', [written])
      expect(await getJob(queue.pool, id)).toMatchObject({ state: 'dead', errors })
      expect((await listDead(queue.pool)).jobs[0]).not.toHaveProperty('lastError')
    }
  })

  test('takes ids up to the largest bigint, and nothing else', async () => {
    expect(await getJob(queue.pool, '9223372036854775807')).toEqual({ state: 'missing', id: '9223372036854775807' })
    for (const id of ['9223372036854775808', '-1', '1 ', '', 'one'])
      await expect(getJob(queue.pool, id)).rejects.toThrow(/is no job id/)
  })
})

describe('listWorkers', () => {
  // Mutants: done places counted, or finished ones; idle taken from the running count.
  test('tells what each holds', async () => {
    const { workers } = await everyState(queue)
    const idle = await queue.worker(['other', 'more'])
    await hangDoorbell(queue.pool, 'pgq', { workerId: idle, channel: 'bell', queues: ['other'] })
    const busy = await queue.worker()
    const told = await listWorkers(queue.pool)
    expect(told.map(({ id, running, idle }) => [id, running, idle])).toEqual([
      [workers.worker, 3, false],
      [workers.holder, 1, false],
      [idle, 0, true],
      [busy, 0, false],
    ])
    const { pid, startedAt } = told.find(({ id }) => id === idle)!
    expect(told.find(({ id }) => id === idle)).toStrictEqual({
      ...{ id: idle, hostname: 'host', pid, queues: ['other', 'more'], tasks: ['mail', 'bill'] },
      ...{
        locks: false,
        listens: true,
        alone: false,
        startedAt,
        beatAgeMs: expect.any(Number),
        leaseMs: 30_000,
        running: 0,
        idle: true,
      },
    })
    expect(startedAt).toEqual(await queue.stored('select started_at from pgq.workers where id = $1', [idle]))
  })

  test('a place that was acknowledged twice is one less, not two', async () => {
    const workerId = await queue.worker()
    for (let n = 0; n < 3; n++) await queue.enqueue('mail')
    const { number } = await queue.claim(workerId, 3)
    for (let n = 0; n < 2; n++)
      await acknowledge(queue.pool, 'pgq', { workerId, finished: [], partial: [{ number, done: [2] }] })
    expect(await listWorkers(queue.pool)).toMatchObject([{ running: 2 }])
  })

  test('the age of a beat goes on inside a transaction', async () => {
    const workerId = await queue.worker()
    await queue.pool.query(`update pgq.workers set beat_at = now() - interval '1 minute' where id = $1`, [workerId])
    const client = await queue.pool.connect()
    await client.query('begin')
    const [first] = await listWorkers(client)
    await client.query('select pg_sleep(0.002)')
    const [second] = await listWorkers(client)
    await client.query('rollback')
    client.release()
    expect(first!.beatAgeMs).toBeGreaterThanOrEqual(60_000)
    expect(first!.beatAgeMs).toBeLessThan(120_000)
    expect(second!.beatAgeMs).toBeGreaterThan(first!.beatAgeMs)
  })
})

describe('backlog', () => {
  // Mutants: age by created_at; queues without jobs left out.
  test('tells what waits in each queue, how long, and who serves it', async () => {
    const { ids } = await everyState(queue)
    await queue.worker(['idle queue', 'default', 'default'])
    await queue.pool.query(`update pgq.jobs set ready_at = now() - interval '90 seconds' where id = $1`, [ids.ready])
    const told = await backlog(queue.pool)
    expect(told).toStrictEqual([
      {
        ...{ queue: 'default', ready: 2, scheduled: 2, parked: 0, exact: true, workers: 3 },
        oldestReadyMs: expect.any(Number),
        nextScheduledAt: await queue.stored('select execute_at from pgq.jobs where id = $1', [ids.delayed]),
      },
      { queue: 'idle queue', ready: 0, scheduled: 0, parked: 0, exact: true, workers: 1 },
      { queue: 'other', ready: 1, scheduled: 0, parked: 0, exact: true, workers: 0, oldestReadyMs: expect.any(Number) },
    ])
    expect(told[0]!.oldestReadyMs).toBeGreaterThanOrEqual(90_000)
    expect(told[0]!.oldestReadyMs).toBeLessThan(180_000)
  })

  test('tells which queues are paused, and since when', async () => {
    await queue.enqueue('mail')
    await pauseQueue(queue.pool, 'default')
    await pauseQueue(queue.pool, 'empty')
    await pauseQueue(queue.pool, 'resumed')
    await resumeQueue(queue.pool, 'resumed')
    expect(await backlog(queue.pool)).toMatchObject([
      {
        queue: 'default',
        ready: 1,
        pausedAt: await queue.stored(`select paused_at from pgq.queues where name = 'default'`),
      },
      { queue: 'empty', ready: 0, workers: 0, pausedAt: expect.any(Date) },
    ])
  })

  test('only scheduled jobs have no age', async () => {
    await queue.enqueue('mail', { delayMs: 1_000_000 })
    const [only] = await backlog(queue.pool)
    expect(only).not.toHaveProperty('oldestReadyMs')
    expect(only).toMatchObject({ ready: 0, scheduled: 1 })
  })
})

test('a database without the queue is named as that', async () => {
  const empty = await createDatabase(inject('pgqAdminUrl'))
  const client = new pg.Client(empty.url)
  await client.connect()
  await expect(backlog(client)).rejects.toThrow(NotMigratedError)
  await client.end()
  await empty.drop()
})

test('every question can be asked in a transaction that may not write', async () => {
  const { ids } = await everyState(queue)
  const client = await queue.pool.connect()
  onTestFinished(() => client.release())
  await client.query('begin read only')
  expect(await countJobs(client)).toHaveLength(6)
  expect(await backlog(client)).toHaveLength(2)
  expect(await listWorkers(client)).toHaveLength(2)
  expect(await listRunning(client)).toHaveLength(4)
  expect((await listReady(client)).jobs).toHaveLength(3)
  expect((await listScheduled(client)).jobs).toHaveLength(2)
  expect((await listDead(client)).jobs).toHaveLength(1)
  expect(await getJob(client, ids.held)).toMatchObject({ state: 'running' })
  expect(await listSchedules(client)).toEqual([])
  expect(await getSchedule(client, 'nightly', { withArgs: true })).toBeUndefined()
  expect((await statistics(client)).total).toMatchObject({ completed: 0 })
  expect(await statisticsByTask(client)).toEqual([])
  expect((await failures(client)).failures).toHaveLength(2)
  expect(await health(client)).toMatchObject({ status: expect.any(String) })
  await client.query('commit')
})
