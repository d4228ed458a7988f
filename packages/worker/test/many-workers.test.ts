import { expect, test } from 'vitest'
import { numbered, numbers, queue } from './queue.js'

const db = await queue()

// Mutant: a claim that selects and does not delete. Then hundreds of jobs run twice.
test.each([
  ['at-least-once', 20_000],
  ['at-most-once', 20_000],
  ['transactional', 2_000],
] as const)(
  '%s: %d jobs under 8 workers run once each',
  async (mode, count) => {
    const task = numbered('work', { mode })
    const runs = new Uint8Array(count)
    const shares = Array<number>(8).fill(0)
    const workers = shares.map((_, worker) =>
      db.idleWorker(
        [
          task.handle((n) => {
            runs[n]! += 1
            shares[worker]! += 1
          }),
        ],
        // Small batches: thousands of claims that meet.
        { concurrency: 2, maxBatch: 20 },
      ),
    )
    await Promise.all(workers.map((worker) => worker.start()))
    for (let first = 0; first < count; first += 5_000) {
      await task.enqueueMany(db.pool, numbers(Math.min(first + 5_000, count)).slice(first))
    }
    await db.empty()
    await Promise.all(workers.map((worker) => worker.stop()))
    expect(runs.filter((times) => times !== 1)).toEqual(new Uint8Array())
    expect(await db.rows('select * from pgq.job_states')).toEqual([])
    // All of them had a part in it.
    expect(shares.filter((share) => share === 0)).toEqual([])
  },
  60_000,
)
