import { acknowledge, finishHeld, finishInTransaction, returnJobs } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { CamelCasePlugin, Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { beforeEach, describe, expect, test } from 'vitest'
import { countJobs } from '../src/index.js'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())

const counts = async (filter?: Parameters<typeof countJobs>[1]) =>
  (await countJobs(queue.pool, filter)).map(({ queue, task, state, jobs }) => [queue, task, state, jobs])

/** What the SQL views say, for people with psql. */
const viewedCounts = async () =>
  (await queue.pool.query('select queue, task, state, jobs::integer from pgq.queue_counts order by 1, 2, 3')).rows.map(
    (row) => Object.values(row),
  )

const viewedStates = async () =>
  Object.fromEntries(
    (await queue.pool.query('select id::text, state from pgq.job_states order by job_states.id')).rows.map((row) => [
      row.id,
      row.state,
    ]),
  )

describe('every state at once', () => {
  // Mutants: a count of done places; of finished_jobs; of jobs in transactional leases twice, or not.
  test('is counted by countJobs and by the view alike', async () => {
    await everyState(queue)
    const expected = [
      ['default', 'bill', 'running', 1],
      ['default', 'mail', 'dead', 1],
      ['default', 'mail', 'ready', 2],
      ['default', 'mail', 'running', 3],
      ['default', 'mail', 'scheduled', 2],
      ['other', 'mail', 'ready', 1],
    ]
    expect(await counts()).toEqual(expected)
    expect(await viewedCounts()).toEqual(expected)
  })

  test('is told job by job by the view', async () => {
    const { ids } = await everyState(queue)
    expect(await viewedStates()).toEqual({
      [ids.retried]: 'scheduled',
      [ids.buried]: 'dead',
      [ids.leased]: 'running',
      [ids.leasedToo]: 'running',
      [ids.bill]: 'running',
      [ids.held]: 'running',
      [ids.ready]: 'ready',
      [ids.readyToo]: 'ready',
      [ids.delayed]: 'scheduled',
      [ids.elsewhere]: 'ready',
    })
  })

  // Mutant: small tables as estimates.
  test('is exact', async () => {
    await everyState(queue)
    expect((await countJobs(queue.pool)).every(({ exact }) => exact)).toBe(true)
  })

  test('is filtered by queue and task', async () => {
    await everyState(queue)
    expect(await counts({ queue: 'other' })).toEqual([['other', 'mail', 'ready', 1]])
    expect(await counts({ queue: 'default', task: 'bill' })).toEqual([['default', 'bill', 'running', 1]])
    expect(await counts({ task: 'nothing' })).toEqual([])
  })
})

describe('one state after the other', () => {
  test('partly acknowledged leases count what is left, whole ones nothing', async () => {
    const workerId = await queue.worker()
    for (let job = 0; job < 3; job++) await queue.enqueue('mail')
    const { number } = await queue.claim(workerId, 3)
    await acknowledge(queue.pool, 'pgq', { workerId, finished: [], partial: [{ number, done: [1, 3] }] })
    expect(await counts()).toEqual([['default', 'mail', 'running', 1]])
    expect(await viewedCounts()).toEqual([['default', 'mail', 'running', 1]])
    await acknowledge(queue.pool, 'pgq', { workerId, finished: [number], partial: [] })
    expect(await counts()).toEqual([])
    expect(await viewedCounts()).toEqual([])
  })

  test("a job that finished in its handler's transaction runs until the commit", async () => {
    const workerId = await queue.worker()
    const id = await queue.enqueue('mail')
    const { number } = await queue.claim(workerId, 1)
    const handler = await queue.pool.connect()
    await handler.query('begin')
    await finishInTransaction(handler, 'pgq', { workerId, number, ordinal: 1 }, id)
    expect(await counts()).toEqual([['default', 'mail', 'running', 1]])
    expect(await viewedCounts()).toEqual([['default', 'mail', 'running', 1]])
    await handler.query('commit')
    handler.release()
    expect(await counts()).toEqual([])
    expect(await viewedCounts()).toEqual([])
  })

  test("a transactional job runs until the commit of its handler's transaction", async () => {
    const workerId = await queue.worker()
    await queue.enqueue('mail')
    const { number } = await queue.claim(workerId, 1, { transactional: true })
    const handler = await queue.pool.connect()
    await handler.query('begin')
    await finishHeld(handler, 'pgq', [{ workerId, number, ordinal: 1 }])
    expect(await counts()).toEqual([['default', 'mail', 'running', 1]])
    expect(await viewedCounts()).toEqual([['default', 'mail', 'running', 1]])
    await handler.query('commit')
    handler.release()
    expect(await counts()).toEqual([])
    expect(await viewedCounts()).toEqual([])
  })

  test('a released job is ready again, and counted once', async () => {
    const workerId = await queue.worker()
    await queue.enqueue('mail')
    const { number } = await queue.claim(workerId, 1)
    await returnJobs(queue.pool, 'pgq', { workerId, returns: [{ number, ordinal: 1, kind: 'release' }] })
    expect(await counts()).toEqual([['default', 'mail', 'ready', 1]])
    expect(await viewedCounts()).toEqual([['default', 'mail', 'ready', 1]])
  })
})

describe('oldest', () => {
  test('is since when it could run, when it is due, when it was claimed, when it died', async () => {
    await everyState(queue)
    const of = async (state: string) =>
      (await countJobs(queue.pool, { queue: 'default', task: 'mail' })).find((count) => count.state === state)?.oldest
    expect(await of('ready')).toEqual(
      await queue.stored(
        `select min(ready_at) from pgq.job_states join pgq.jobs using (id) where state = 'ready' and jobs.queue = 'default'`,
      ),
    )
    expect(await of('scheduled')).toEqual(await queue.stored('select min(execute_at) from pgq.jobs'))
    expect(await of('running')).toEqual(await queue.stored('select min(claimed_at) from pgq.leases'))
    expect(await of('dead')).toEqual(await queue.stored('select died_at from pgq.dead_jobs'))
  })
})

describe('whatever the client makes of the answer', () => {
  test('type parsers and column renaming change nothing', async () => {
    await queue.enqueue('mail')
    const expected = await countJobs(queue.pool)
    expect(expected).toMatchObject([{ jobs: 1, oldest: expect.any(Date) }])
    const pool = new pg.Pool({
      connectionString: database.url,
      types: { getTypeParser: () => (text: string) => text } as never,
    })
    const kysely = new Kysely<any>({ dialect: new PostgresDialect({ pool }), plugins: [new CamelCasePlugin()] })
    expect(await countJobs(pool)).toEqual(expected)
    expect(await countJobs(kysely)).toEqual(expected)
    const abroad = new pg.Client({
      connectionString: database.url,
      options: '-c datestyle=german -c timezone=Asia/Kathmandu',
    })
    await abroad.connect()
    expect(await countJobs(abroad)).toEqual(expected)
    await abroad.end()
    await kysely.destroy()
  })

  test('an instant that no Date can hold becomes the last one that there is', async () => {
    await queue.pool.query(`select pgq.enqueue('mail', execute_at => '294276-12-31')`)
    expect(await countJobs(queue.pool)).toMatchObject([{ state: 'scheduled', oldest: new Date(8.64e15) }])
  })
})
