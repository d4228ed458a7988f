import { enqueueMany } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
const upTo = (count: number) => numbers(count).map(({ args }) => args)

describe.each(MODES)('%s', (mode) => {
  const task = numbered('work', { mode })

  // Mutants: order by created_at (one transaction has one now()); by id.
  test('first in, first out, also within one transaction and across its statements', async () => {
    const client = await db.pool.connect()
    await client.query('begin')
    for (let n = 0; n < 10; n++) await task.enqueue(client, n)
    await task.enqueueMany(client, numbers(20).slice(10))
    for (let n = 20; n < 30; n++) await task.enqueue(client, n)
    await client.query('commit')
    client.release()
    const seen: number[] = []
    await db.worker([task.handle((n) => seen.push(n))], { concurrency: 1 })
    await until(() => seen.length === 30)
    expect(seen).toEqual(upTo(30))
  })
})

test('over many batches, while more of them come', async () => {
  const task = numbered()
  const seen: number[] = []
  await task.enqueueMany(db.pool, numbers(3_000))
  await db.worker([task.handle((n) => seen.push(n))], { concurrency: 1 })
  await until(() => seen.length > 100)
  await task.enqueueMany(db.pool, numbers(4_000).slice(3_000))
  await until(() => seen.length === 4_000)
  expect(seen).toEqual(upTo(4_000))
})

// Mutant: a failed job keeps its position: it would run again and again before all others.
test.each(['at-least-once', 'transactional'] as const)(
  '%s: a retried job queues again, behind all others',
  async (mode) => {
    const task = numbered('work', { mode, retry: { minDelayMs: 0 } })
    const seen: string[] = []
    const handler = task.handle((n, { attempt }) => {
      seen.push(`${n}.${attempt}`)
      if (n === 0 && attempt === 1) throw new Error('again')
    })
    await task.enqueueMany(db.pool, numbers(50))
    const first = db.idleWorker([handler], { concurrency: 1, maxBatch: 1 })
    const failed = next(first, 'job.settled')
    await first.start()
    await failed
    await first.stop()
    // Another worker, for a cursor would hide where the job is.
    await db.worker([handler], { concurrency: 1 })
    await db.empty()
    expect(seen).toEqual([...upTo(50).map((n) => `${n}.1`), '0.2'])
  },
)

// Mutant: LOOKAHEAD_MS = 7,500.
test.each(MODES)('%s: a job of a higher priority that comes under full load starts soon', async (mode) => {
  const task = numbered('work', { mode })
  let started = 0
  const high = gate<number>()
  await task.enqueueMany(db.pool, numbers(3_000, { priority: 1 }))
  await db.worker(
    [
      task.handle((n) => {
        if (n === -1) return high.open(started)
        started += 1
        return pause(2)
      }),
    ],
    { concurrency: 4 },
  )
  await until(() => started > 200)
  await task.enqueue(db.pool, -1, { priority: 2 })
  const startedBefore = started
  // At most what was claimed ahead of it: 75 ms of four slots, 150 jobs.
  expect((await high.opened) - startedBefore).toBeLessThan(600)
})

// Mutant: the queues always in the same order.
test('no queue starves: one that never empties lets the others come in turn', async () => {
  const busy = numbered('busy', { queue: 'a' })
  const rare = numbered('rare', { queue: 'b' })
  let busyRuns = 0
  const rareRuns: number[] = []
  await busy.enqueueMany(db.pool, numbers(2_000))
  const worker = await db.worker(
    [
      busy.handle(async () => {
        busyRuns += 1
        await busy.enqueue(db.pool, 0)
      }),
      rare.handle(() => rareRuns.push(busyRuns)),
    ],
    { concurrency: 2, maxBatch: 20 },
  )
  await until(() => busyRuns > 100)
  await rare.enqueueMany(db.pool, numbers(50))
  const before = busyRuns
  await until(() => rareRuns.length === 50)
  await worker.stop()
  // Every second claim begins with the other queue: 50 jobs in 3 of its turns.
  expect(rareRuns.at(-1)! - before).toBeLessThan(1_500)
})

test('by name into a queue that is not the default of the task', async () => {
  const task = numbered()
  const seen: number[] = []
  await enqueueMany(db.pool, 'work', numbers(2, { queue: 'elsewhere' }))
  await db.worker([task.handle((n) => seen.push(n))], { queues: ['elsewhere'] })
  await until(() => seen.length === 2)
  await task.enqueue(db.pool, 9)
  await task.enqueue(db.pool, 2, { queue: 'elsewhere' })
  await until(() => seen.length === 3)
  expect(seen.toSorted()).toEqual([0, 1, 2])
  expect(await db.rows('select queue from pgq.jobs')).toEqual([{ queue: 'default' }])
})
