import { randomBytes } from 'node:crypto'
import { defineTask, typed } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { all, gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
/** How many jobs workers hold, started or not. */
const held = () =>
  db.value<number>('select coalesce(sum(cardinality(ids) - cardinality(done)), 0)::integer from pgq.leases')

describe('slow jobs are never hoarded', () => {
  // Mutant: a fixed batch: the jobs behind slow ones wait in one worker while others are idle.
  test('a worker holds as many as it runs; others get the rest', async () => {
    const go = gate()
    const task = numbered()
    const starts: number[] = []
    const handler = task.handle((n) => {
      starts.push(n)
      return go.opened
    })
    await task.enqueueMany(db.pool, numbers(20))
    await db.worker([handler], { concurrency: 3 })
    await until(() => starts.length === 3)
    await pause(100)
    expect(await held()).toBe(3)
    await db.worker([handler], { concurrency: 4 })
    await until(() => starts.length === 7)
    await pause(100)
    expect(await held()).toBe(7)
    expect(starts.toSorted()).toEqual([0, 1, 2, 3, 4, 5, 6])
    go.open()
    await db.empty()
  })

  // Mutants: STALE_MS without end; a release that counts the attempt.
  test('what was claimed ahead of jobs that turn out slow goes back within a second or two, as it was', async () => {
    const go = gate()
    const task = numbered()
    const runs: number[] = []
    const worker = await db.worker(
      [
        task.handle((n) => {
          runs.push(n)
          if (n >= 500) return go.opened
        }),
      ],
      { concurrency: 2 },
    )
    const released = all(worker, 'job.released')
    await task.enqueueMany(db.pool, numbers(800))
    await until(() => runs.length === 502)
    await until(async () => released.length > 0 && (await held()) <= 2, 10_000)
    expect(runs.slice(500)).toEqual([500, 501])
    for (const { attempt } of released) expect(attempt).toBe(1)
    // Whoever comes now takes them, in their order.
    const others: [number, number][] = []
    await db.worker([task.handle((n, { attempt }) => others.push([n, attempt]))], { concurrency: 1 })
    await until(() => others.length === 298)
    expect(others).toEqual(
      numbers(800)
        .slice(502)
        .map(({ args }) => [args, 1]),
    )
    go.open()
    await db.empty()
    expect(await db.value('select count(*) from pgq.dead_jobs')).toBe('0')
  })
})

describe('the most that one claim takes', () => {
  const blob = defineTask('blob', { args: typed<string>() })
  const sizes = async (count: number, bytes: number, maxBatchBytes: number) => {
    // Random, because what compresses counts by its compressed size.
    const args = Array.from({ length: count }, () => ({ args: randomBytes(bytes / 2).toString('hex') }))
    await blob.enqueueMany(db.pool, args)
    const seen: string[] = []
    const worker = db.idleWorker([blob.handle((text) => seen.push(text))], { maxBatchBytes })
    const claimed = all(worker, 'jobs.claimed')
    await worker.start()
    await until(() => seen.length === count)
    await worker.stop()
    expect(seen).toEqual(args.map((job) => job.args))
    return claimed.map(({ jobs }) => jobs)
  }

  // Mutant: maxBytes ignored: a claim of large jobs takes them all into memory.
  test('maxBatchBytes: a few large jobs at a time, and one that is larger than that alone', async () => {
    const some = await sizes(12, 40_000, 100_000)
    expect(Math.max(...some)).toBe(3) // until the cap is passed
    expect(await sizes(4, 40_000, 1_024)).toEqual([1, 1, 1, 1])
  })

  test.each(MODES)('%s: maxBatch', async (mode) => {
    const task = numbered('work', { mode })
    await task.enqueueMany(db.pool, numbers(300))
    const worker = db.idleWorker([task.handle(() => {})], { maxBatch: 7 })
    const claimed = all(worker, 'jobs.claimed')
    await worker.start()
    await db.empty()
    const batches = claimed.map(({ jobs }) => jobs)
    expect(batches.reduce((sum, jobs) => sum + jobs, 0)).toBe(300)
    expect(Math.max(...batches)).toBe(7)
    expect(claimed.every((event) => event.mode === mode && event.durationMs >= 0)).toBe(true)
  })

  test('fast jobs are claimed in large batches by default', async () => {
    const task = numbered()
    await task.enqueueMany(db.pool, numbers(5_000))
    const worker = db.idleWorker([task.handle(() => {})])
    const claimed = all(worker, 'jobs.claimed')
    await worker.start()
    await db.empty()
    expect(Math.max(...claimed.map(({ jobs }) => jobs))).toBeGreaterThan(300)
    expect(claimed.length).toBeLessThan(100)
  })
})

// Mutant: GATHER_MS = 0.
test('from a stream of jobs, several are claimed at a time: after some, and all there were, it waits for more', async () => {
  const task = numbered()
  const pauses: number[] = []
  const worker = db.idleWorker([task.handle(() => {})])
  let [before, at] = [0, 0]
  worker.on('jobs.claimed', ({ jobs, durationMs }) => {
    const now = performance.now()
    if (before > 1 && before < 10) pauses.push(now - durationMs - at)
    ;[before, at] = [jobs, now]
  })
  await worker.start()
  const caller = async () => {
    while (pauses.length < 50) await task.enqueue(db.pool, 1)
  }
  await Promise.all([caller(), caller()])
  await db.empty()
  expect(Math.min(...pauses)).toBeGreaterThan(2)
})

describe('concurrency', () => {
  // Mutant: a slot that is not given back, or given twice.
  test.each(MODES)('%s: never more handlers at once than slots, and all slots are used', async (mode) => {
    const task = numbered('work', { mode })
    let [running, most, runs] = [0, 0, 0]
    await task.enqueueMany(db.pool, numbers(60))
    await db.worker(
      [
        task.handle(async (n) => {
          most = Math.max(most, ++running)
          // The first ones wait for each other, however slow a transaction begins.
          await until(() => most >= 5)
          await pause(5)
          running -= 1
          runs += 1
          if (n % 3 === 0) throw new Error('every third fails')
        }),
      ],
      { concurrency: 5 },
    )
    await until(() => runs === 60)
    expect(most).toBe(5)
  })

  test('by mode: each has slots of its own', async () => {
    const go = gate()
    const started: string[] = []
    const tasks = MODES.map((mode) => numbered(mode, { mode }))
    const handlers = tasks.map((task) =>
      task.handle(() => {
        started.push(task.name)
        return go.opened
      }),
    )
    await db.worker(handlers, { concurrency: { 'at-least-once': 1, 'at-most-once': 2, transactional: 3 } })
    for (const task of tasks) await task.enqueueMany(db.pool, numbers(5))
    await until(() => started.length === 6)
    await pause(100)
    expect(MODES.map((mode) => started.filter((name) => name === mode).length)).toEqual([1, 2, 3])
    go.open()
    await db.empty()
  })
})

// Mutant: idleTasks are none while a lane is busy: nothing rings for the others, and nobody looks for them.
test('a mode whose slots are all taken holds up no other', async () => {
  const go = gate()
  const slow = numbered('slow')
  const quick = numbered('quick', { mode: 'transactional' })
  const seen: number[] = []
  const begun: number[] = []
  const begin = (n: number) => {
    begun.push(n)
    return go.opened
  }
  const handlers = [slow.handle(begin), quick.handle((n) => void seen.push(n))]
  await db.worker(handlers, { concurrency: { 'at-least-once': 2 } })
  await slow.enqueueMany(db.pool, numbers(20))
  await until(() => begun.length === 2)
  await until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '0')
  await quick.enqueue(db.pool, 7)
  await until(() => seen.includes(7), 5_000)
  go.open()
  await db.empty()
})

// Mutant: a ring that does not look behind the cursor: the job is found after pollMs, a minute here.
test('a job whose transaction commits late, behind others that ran, is found at once', async () => {
  const task = numbered()
  const seen: number[] = []
  const worker = await db.worker([task.handle((n) => seen.push(n))], { pollMs: 60_000 })
  await until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '1')
  const late = await db.pool.connect()
  await late.query('begin')
  await task.enqueue(late, 1)
  for (let n = 2; n < 30; n++) {
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, n)
    await settled
  }
  await late.query('commit')
  late.release()
  await until(() => seen.includes(1), 5_000)
})
