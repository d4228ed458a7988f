import { cancelJobs, enqueueMany, InvalidOptionError, promoteDueJobs, type SqlClient } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, describe, expect, test } from 'vitest'
import { listDead, listReady, listRunning, listScheduled, type Page, type PageRequest } from '../src/index.js'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())

/** Ids page by page. */
async function pages(list: (request: PageRequest) => Promise<Page<{ id: string }>>, request: PageRequest) {
  const found: string[][] = []
  for (let after: string | undefined; ; ) {
    const page = await list({ ...request, ...(after !== undefined && { after }) })
    found.push(page.jobs.map(({ id }) => id))
    if (page.next === undefined) return found
    after = page.next
  }
}

describe('listReady', () => {
  // Mutants: order by id; scheduled jobs among them.
  test('answers what a claim would take, in its order', async () => {
    const { ids, workers } = await everyState(queue)
    const { jobs, next } = await listReady(queue.pool, { queue: 'default' })
    expect(jobs.map(({ id }) => id)).toEqual([ids.readyToo, ids.ready])
    expect(next).toBeUndefined()
    expect((await queue.claim(workers.worker, 10)).ids).toEqual(jobs.map(({ id }) => id))
  })

  test('tells a job, its args only when asked', async () => {
    const before = await queue.now()
    const id = await queue.enqueue('bill', { args: { total: 3 }, priority: -7, queue: 'q' })
    const job = {
      ...{ id, queue: 'q', task: 'bill', priority: -7, attempt: 0, crashCount: 0 },
      ...{ createdAt: expect.any(Date), readyAt: expect.any(Date) },
    }
    const { jobs } = await listReady(queue.pool)
    expect(jobs).toStrictEqual([job])
    expect(jobs[0]!.readyAt.getTime()).toBeGreaterThanOrEqual(before.getTime() - 1)
    expect((await listReady(queue.pool, { withArgs: true })).jobs).toStrictEqual([{ ...job, args: { total: 3 } }])
  })

  test('answers args letter by letter, null among them', async () => {
    await queue.enqueue('mail', { args: null })
    expect((await listReady(queue.pool, { withArgs: true })).jobs[0]).toHaveProperty('args', null)
  })

  test('goes through all queues together, page by page, and no job moves when others come and go', async () => {
    const ids: string[] = []
    for (let n = 0; n < 7; n++) ids.push(await queue.enqueue('mail', { queue: `queue ${n % 3}` }))
    const urgent = await queue.enqueue('mail', { priority: 32_767, queue: 'queue 2' })
    const late = await queue.enqueue('mail', { priority: -32_768, queue: 'queue 0' })
    const list = (request: PageRequest) => listReady(queue.pool, request)
    expect(await pages(list, { limit: 4 })).toEqual([[urgent, ...ids.slice(0, 3)], ids.slice(3), [late]])
    expect(await pages(list, { limit: 3 })).toHaveLength(3)
    expect(await pages(list, { limit: 2, queue: 'queue 1' })).toEqual([[ids[1], ids[4]]])

    const { next } = await listReady(queue.pool, { limit: 4 })
    await queue.pool.query('delete from pgq.jobs where id = any ($1)', [[urgent, ids[0]]])
    const more = await queue.enqueue('mail', { priority: 1 })
    expect((await listReady(queue.pool, { after: next!, limit: 2 })).jobs.map(({ id }) => id)).toEqual([ids[3], ids[4]])
    expect((await listReady(queue.pool, { limit: 1 })).jobs.map(({ id }) => id)).toEqual([more])
  })

  test('takes the first of each queue by priority, not by age', async () => {
    const ids: string[] = []
    for (const priority of [1, 2, 3, 4]) ids.unshift(await queue.enqueue('mail', { priority }))
    expect(await pages((request) => listReady(queue.pool, request), { limit: 1 })).toEqual(ids.map((id) => [id]))
  })

  // Mutants: the key of another task; one state for another; a job that has only been called the same.
  test('filters by key, together with its task, as the other lists do', async () => {
    const keyed = (job: object) => ({ unique: { key: 'order 7' }, ...job })
    const [ready] = await enqueueMany(queue.pool, 'mail', [keyed({}), { unique: { key: 'order 8' } }, {}])
    const [scheduled] = await enqueueMany(queue.pool, 'bill', [keyed({ delayMs: 60_000 })])
    const idsOf = (page: Page<{ id: string }>) => page.jobs.map(({ id }) => id)
    const found = async (task: string) => {
      const filter = { task, key: 'order 7' }
      return [
        idsOf(await listReady(queue.pool, filter)),
        idsOf(await listScheduled(queue.pool, filter)),
        idsOf(await listDead(queue.pool, filter)),
        (await listRunning(queue.pool, filter)).map(({ id }) => id),
      ]
    }
    expect(await found('mail')).toEqual([[ready!.id], [], [], []])
    expect(await found('bill')).toEqual([[], [scheduled!.id], [], []])
    await cancelJobs(queue.pool, { task: 'bill', key: 'order 7' })
    expect(await found('bill')).toEqual([[], [], [scheduled!.id], []])
    await queue.pool.query('delete from pgq.job_keys where task = $1', ['bill'])
    expect(await found('bill')).toEqual([[], [], [scheduled!.id], []])
    await queue.claim(await queue.worker(), 3)
    expect(await found('mail')).toEqual([[], [], [], [ready!.id]])
    expect(idsOf(await listReady(queue.pool, { task: 'mail', key: 'order 9' }))).toEqual([])
  })

  test.each([listReady, listScheduled, listDead, listRunning])('%o refuses a key without its task', async (list) => {
    await expect(list(queue.pool, { key: 'order 7' })).rejects.toThrow(
      new InvalidOptionError('A key is one of a task: give task beside key.'),
    )
  })

  test('filters by task', async () => {
    await queue.enqueue('mail')
    const bill = await queue.enqueue('bill')
    expect((await listReady(queue.pool, { task: 'bill' })).jobs.map(({ id }) => id)).toEqual([bill])
    expect((await listReady(queue.pool, { queue: 'nowhere' })).jobs).toEqual([])
  })

  // Mutant: one ordered scan over all queues; it sorts, or walks past everything of another queue.
  test('reads no more than a page of each queue', async () => {
    const jobs = Array.from({ length: 20_000 }, (_, n) => ({ queue: `queue ${n % 2}` }))
    await enqueueMany(queue.pool, 'mail', jobs)
    await queue.pool.query('analyze pgq.jobs')
    let plan = ''
    await listReady(
      {
        async query(sql: string, params: any[]) {
          const { rows } = await queue.pool.query(
            `explain (analyze, timing off, costs off, summary off) ${sql}`,
            params,
          )
          plan = rows.map((row) => row['QUERY PLAN']).join('\n')
          return []
        },
      },
      { limit: 10 },
    )
    expect(plan).not.toMatch(/Seq Scan on jobs/)
    const read = [...plan.matchAll(/Scan using \S+ on jobs\S*.*actual rows=(\d+)/g)].map(([, rows]) => Number(rows))
    expect(read.length).toBeGreaterThan(0)
    expect(Math.max(...read)).toBeLessThanOrEqual(11)
  })
})

describe('listScheduled', () => {
  test('answers the next one first, with the failure that it waits after', async () => {
    const { ids } = await everyState(queue)
    const { jobs } = await listScheduled(queue.pool)
    expect(jobs.map(({ id }) => id)).toEqual([ids.delayed, ids.retried])
    expect(jobs[0]).not.toHaveProperty('lastError')
    expect(jobs[0]!.executeAt).toEqual(
      await queue.stored('select execute_at from pgq.jobs where id = $1', [ids.delayed]),
    )
    expect(jobs[1]).toMatchObject({ attempt: 1, lastError: { attempt: 1, message: 'again' } })
    expect(jobs[1]).not.toHaveProperty('args')
    expect((await listScheduled(queue.pool, { withArgs: true })).jobs[1]!.args).toEqual({ name: 'retried' })
  })

  // Mutants: a cursor in milliseconds, or by instant alone, leaves equal or nearly equal ones out; one that is not read back ends the list.
  test('pages over queues, equal instants and instants within one millisecond', async () => {
    const expected: string[] = []
    const instants = ['0044-03-15 BC', '2100-01-01T00:00:00.000001Z', '2100-01-01T00:00:00.000002Z', '294276-12-31']
    for (const at of instants)
      for (const name of ['a', 'b', 'a'])
        expected.push(
          await queue.stored<string>(
            `insert into pgq.jobs (task, queue, execute_at) values ('mail', $1, $2) returning id::text`,
            [name, at],
          ),
        )
    for (const limit of [1, 2, 4])
      expect((await pages((request) => listScheduled(queue.pool, request), { limit })).flat()).toEqual(expected)
  })

  test('still lists what is due until a worker promotes it', async () => {
    const id = await queue.enqueue('mail', { delayMs: 3_600_000 })
    await queue.pool.query(`update pgq.jobs set execute_at = now() - interval '1 minute'`)
    expect((await listScheduled(queue.pool)).jobs.map((job) => job.id)).toEqual([id])
    await promoteDueJobs(queue.pool, 'pgq', { queues: ['default'], limit: 10 })
    expect((await listScheduled(queue.pool)).jobs).toEqual([])
    expect((await listReady(queue.pool)).jobs.map((job) => job.id)).toEqual([id])
  })
})

describe('listDead', () => {
  test('tells what a job died of, and when', async () => {
    const { ids } = await everyState(queue)
    const { jobs } = await listDead(queue.pool)
    expect(jobs).toStrictEqual([
      {
        ...{ id: ids.buried, queue: 'default', task: 'mail', priority: 0, attempt: 1, crashCount: 0, reason: 'failed' },
        createdAt: await queue.stored('select created_at from pgq.dead_jobs'),
        diedAt: await queue.stored('select died_at from pgq.dead_jobs'),
        lastError: { attempt: 1, at: '2026-01-02T03:04:05.678Z', name: 'Error', message: 'for good' },
      },
    ])
    expect((await listDead(queue.pool, { withArgs: true })).jobs[0]!.args).toEqual({ name: 'buried' })
  })

  test('pages from the newest to the oldest, over queues and equal instants', async () => {
    await queue.pool.query(`
      insert into pgq.dead_jobs (id, queue, task, died_at)
      select n, 'queue ' || n % 2, 'mail', timestamptz '2026-01-01' + n / 4 * interval '1 microsecond'
      from generate_series(1, 12) as n`)
    const expected = Array.from({ length: 12 }, (_, n) => String(12 - n))
    for (const limit of [1, 5])
      expect((await pages((request) => listDead(queue.pool, request), { limit })).flat()).toEqual(expected)
    const odd = await pages((request) => listDead(queue.pool, request), { limit: 4, queue: 'queue 1', task: 'mail' })
    expect(odd).toEqual([
      ['11', '9', '7', '5'],
      ['3', '1'],
    ])
  })
})

// Mutants: LIKE, for which % is anything; a filter that answers args to who asked for none.
test('every list filters by a text in the args, in upper or lower case', async () => {
  const enqueue = (delayMs = 0) => queue.enqueue('mail', { args: { to: 'Ada', rate: '100%' }, delayMs })
  await queue.enqueue('mail', { args: { to: 'Bob', rate: '1000' } })
  const ready = await enqueue()
  const scheduled = await enqueue(60_000)
  await queue.pool.query(
    `insert into pgq.dead_jobs (id, task, args) values (7, 'mail', '{"to":"ada"}'), (8, 'mail', 'null')`,
  )
  const found = async (
    list: (executor: SqlClient, request: PageRequest) => Promise<Page<{ id: string }>>,
    argsText: string,
  ) => (await list(queue.pool, { argsText })).jobs.map(({ id }) => id)
  expect(await found(listReady, '"to":"ADA"')).toEqual([ready])
  expect(await found(listReady, '100%')).toEqual([ready])
  expect(await found(listScheduled, 'ada')).toEqual([scheduled])
  expect(await found(listDead, 'ada')).toEqual(['7'])
  expect((await listReady(queue.pool, { argsText: 'ada' })).jobs[0]).not.toHaveProperty('args')

  await queue.claim(await queue.worker(), 10)
  const running = await listRunning(queue.pool, { argsText: 'ada' })
  expect(running.map(({ id }) => id)).toEqual([ready])
  expect(running[0]).not.toHaveProperty('args')
})

test('impossible requests are refused before anything is sent', async () => {
  const nobody = { query: () => Promise.reject(new Error('sent')) }
  for (const limit of [0, -1, 1.5, 10_001, Number.NaN])
    await expect(listReady(nobody, { limit })).rejects.toThrow(InvalidOptionError)
  await expect(listReady(nobody, { after: '1 or true' })).rejects.toThrow(/pass the "next"/)
  await expect(listScheduled(nobody, { after: '17' })).rejects.toThrow(/pass the "next"/)
  await expect(listDead(nobody, { after: 'yesterday 1' })).rejects.toThrow(/pass the "next"/)
  await expect(listReady(nobody, {}, { schema: 'no"schema' })).rejects.toThrow(InvalidOptionError)
})
