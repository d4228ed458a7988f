import { defineTask, typed } from '@pgq/core'
import { sql } from 'kysely'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { all, gate, next, numbered, pause, queue, until } from './queue.js'

const db = await queue()

interface Work {
  readonly key: string
  readonly n: number
}

/** What handlers did, by key: in which order, and how many of them at the same time. */
class Log {
  readonly order = new Map<string, number[]>()
  readonly most = new Map<string, number>()
  mostOfAll = 0
  readonly #running = new Map<string, number>()

  get count(): number {
    return [...this.order.values()].flat().length
  }

  async run({ key, n }: Work, ms: number): Promise<void> {
    this.order.set(key, [...(this.order.get(key) ?? []), n])
    this.#add(key, 1)
    this.most.set(key, Math.max(this.most.get(key) ?? 0, this.#running.get(key)!))
    this.mostOfAll = Math.max(
      this.mostOfAll,
      [...this.#running.values()].reduce((sum, one) => sum + one, 0),
    )
    await pause(ms)
    this.#add(key, -1)
  }

  #add(key: string, by: number): void {
    this.#running.set(key, (this.#running.get(key) ?? 0) + by)
  }
}

const work = <Mode extends 'at-least-once' | 'transactional'>(mode: Mode) =>
  defineTask('work', { args: typed<Work>(), mode })
const jobs = (key: string, count: number, max?: number) =>
  Array.from({ length: count }, (_, n) => ({
    args: { key, n },
    concurrency: { key, ...(max !== undefined && { max }) },
  }))
const inOrder = (count: number) => Array.from({ length: count }, (_, n) => n)
const KEYS = ['a', 'b', 'c', 'd', 'e']

// Mutants: everything is admitted; the count without the lock; what is parked is never taken up.
test.each(['at-least-once', 'transactional'] as const)(
  '%s: three workers run the jobs of a key one after the other, in their order, and keys beside each other',
  async (mode) => {
    const task = work(mode)
    const log = new Log()
    const handler = task.handle((args) => log.run(args, 3))
    await Promise.all([1, 2, 3].map(() => db.worker([handler], { concurrency: 5 })))
    const all = KEYS.map((key) => jobs(key, 30))
    await task.enqueueMany(
      db.pool,
      inOrder(30).flatMap((n) => all.map((ofKey) => ofKey[n]!)),
    )
    await until(() => log.count === 150)
    await db.empty()
    for (const key of KEYS) expect([key, log.most.get(key), log.order.get(key)]).toEqual([key, 1, inOrder(30)])
    expect(log.mostOfAll).toBeGreaterThan(1)
  },
)

// Mutants: the first one of the claim's own mode is taken; the lane whose job ended alone asks for the next one.
test('tasks of two modes share a key, in one order', async () => {
  const leased = work('at-least-once')
  const transactional = defineTask('other', { args: typed<Work>(), mode: 'transactional' })
  const log = new Log()
  const handlers = [leased, transactional].map((task) => task.handle((args: Work) => log.run(args, 2)))
  await Promise.all([1, 2].map(() => db.worker(handlers, { concurrency: 5 })))
  const concurrency = { key: 'a' }
  for (let n = 0; n < 60; n++) await (n % 2 ? leased : transactional).enqueue(db.pool, { key: 'a', n }, { concurrency })
  await db.empty()
  expect([log.most.get('a'), log.order.get('a')]).toEqual([1, inOrder(60)])
})

test('as many as max run at the same time, and no more', async () => {
  const task = work('at-least-once')
  const log = new Log()
  const handler = task.handle((args) => log.run(args, 20))
  await Promise.all([1, 2].map(() => db.worker([handler])))
  await task.enqueueMany(db.pool, jobs('a', 40, 3))
  await db.empty()
  expect([log.count, log.most.get('a')]).toEqual([40, 3])
})

test('a long line of one key does not hold up others behind it', async () => {
  const task = work('at-least-once')
  const opened = gate()
  const begun: string[] = []
  await task.enqueueMany(db.pool, [...jobs('a', 3_000), ...jobs('b', 5)])
  await db.worker([
    task.handle(async ({ key }) => {
      begun.push(key)
      if (key === 'a') await opened.opened
    }),
  ])
  await until(() => begun.length === 6)
  expect(begun.sort().join('')).toBe('abbbbb')
  await db.pool.query(`delete from pgq.jobs`)
  opened.open()
  await db.empty()
})

// Mutant: what transactions finished counts until its whole lease is written.
test('what a transactional handler has committed makes room, whatever its lease holds beside it', async () => {
  const task = work('transactional')
  const opened = gate()
  const ended: number[] = []
  await task.enqueueMany(db.pool, [{ args: { key: 'none', n: -1 } }, ...jobs('a', 10)])
  await db.worker([
    task.handle(async ({ n }, { trx }) => {
      await sql`insert into effects values (${n})`.execute(trx)
      if (n === -1) await opened.opened
      ended.push(n)
    }),
  ])
  await until(() => ended.length === 10)
  expect(ended).toEqual(inOrder(10))
  opened.open()
  await db.empty()
})

describe('a job that the database refuses to park', () => {
  beforeAll(() =>
    db.rows(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
      create trigger refuse before insert on pgq.jobs for each row when (new.args ->> 'n' = '2' and new.id < 1000000) execute function refuse();
      alter table pgq.jobs disable trigger refuse`),
  )
  afterAll(() => db.rows('drop function refuse cascade'))
  // Mutant: the refusal fails the claim: it is made again and again, and nothing else.
  test('stays in its lease, is told of, and keeps no other from running', async () => {
    const task = work('at-least-once')
    const log = new Log()
    await task.enqueueMany(db.pool, [...jobs('a', 5), ...jobs('b', 1)])
    await db.rows('alter table pgq.jobs enable trigger refuse')
    const worker = db.idleWorker([task.handle((args) => log.run(args, 1))])
    const unsettled = next(worker, 'job.unsettled')
    const lost = all(worker, 'database.lost')
    await worker.start()
    expect(await unsettled).toMatchObject({ error: { message: 'not this one' } })
    await until(() => log.count === 5)
    expect([log.order.get('a'), log.most.get('a'), lost]).toEqual([[0, 1, 3, 4], 1, []])
  })
})

test('keys of other queues, and jobs without a key, have nothing to do with it', async () => {
  const task = work('at-least-once')
  const opened = gate()
  let running = 0
  await db.worker(
    [
      task.handle(async () => {
        running += 1
        await opened.opened
      }),
    ],
    { queues: ['default', 'other'] },
  )
  const concurrency = { key: 'a' }
  await task.enqueue(db.pool, { key: 'a', n: 1 }, { concurrency })
  await task.enqueue(db.pool, { key: 'a', n: 2 }, { concurrency, queue: 'other' })
  await task.enqueue(db.pool, { key: 'a', n: 3 })
  await until(() => running === 3)
  opened.open()
  await db.empty()
})

test('a job that failed lets the next one run while it waits for its retry', async () => {
  const task = defineTask('work', { args: typed<Work>(), retry: { minDelayMs: 600_000, maxDelayMs: 600_000 } })
  const ran: number[] = []
  await task.enqueueMany(db.pool, jobs('a', 3))
  await db.worker([
    task.handle(({ n }) => {
      ran.push(n)
      if (n === 0) throw new Error('not yet')
    }),
  ])
  await until(() => ran.length === 3)
  expect(ran).toEqual([0, 1, 2])
  await until(async () => (await db.value('select count(*) from pgq.jobs')) === '1')
})

// Mutant: without the caretaker's look, they wait for ever.
test('what a worker that stops leaves parked is taken up by another one', async () => {
  const task = work('at-least-once')
  const log = new Log()
  const begun = gate()
  const first = await db.worker([
    task.handle(async (args) => {
      begun.open()
      await log.run(args, 50)
    }),
  ])
  await task.enqueueMany(db.pool, jobs('a', 5))
  await begun.opened
  await until(async () => (await db.value(`select count(*) from pgq.jobs where execute_at = 'infinity'`)) === '4')
  const second = await db.worker([task.handle((args) => log.run(args, 1))])
  await first.stop()
  await db.empty()
  expect([log.order.get('a'), log.most.get('a')]).toEqual([inOrder(5), 1])
  await second.stop()
})

test('a suspect of a key runs alone, and none of its key beside it', async () => {
  const task = work('at-least-once')
  const log = new Log()
  await task.enqueueMany(db.pool, jobs('a', 6))
  await db.pool.query(
    'update pgq.jobs set crash_count = 2 where id in (select id from pgq.jobs order by id offset 2 limit 2)',
  )
  await Promise.all([1, 2].map(() => db.worker([task.handle((args) => log.run(args, 5))])))
  await db.empty()
  expect([log.count, log.most.get('a')]).toEqual([6, 1])
})

test('an at-most-once job that was given a key by its name is not run, and says why', async () => {
  const task = numbered('once', { mode: 'at-most-once' })
  await db.pool.query(`select pgq.enqueue('once', '1', meta => pgq.concurrency('a'))`)
  let ran = false
  await db.worker([
    task.handle(() => {
      ran = true
    }),
  ])
  await until(async () => (await db.value('select count(*) from pgq.dead_jobs')) === '1')
  expect([ran, await db.value(`select errors -> 0 ->> 'message' from pgq.dead_jobs`)]).toEqual([
    false,
    expect.stringMatching(/^It was not run: .* cannot have concurrency/),
  ])
})

test('from SQL, with what PostgreSQL cannot read beside it', async () => {
  const task = work('at-least-once')
  const log = new Log()
  await db.pool.query(`
    select pgq.enqueue('work', json_build_object('key', 'a', 'n', n), meta => pgq.concurrency('a', 2)) from generate_series(0, 9) as n`)
  // Neither has a key: both run at once.
  await db.pool.query(
    `select pgq.enqueue('work', '{"key": "none", "n": 0}', meta => '{"concurrencyKey": "a", "other": "\\u0000"}'),
       pgq.enqueue('work', '{"key": "none", "n": 1}', meta => '["concurrencyKey"]')`,
  )
  await db.worker([task.handle((args) => log.run(args, 10))])
  await db.empty()
  expect([log.most.get('a'), log.order.get('a')?.length, log.order.get('none')?.length]).toEqual([2, 10, 2])
})
