import { defineTask, retryAfter, snooze, typed } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { type EagerQueueOptions, eagerQueue } from '../src/index.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const noon = new Date('2030-01-01T12:00:00Z')
const work = defineTask('work', {
  args: typed<number>(),
  retry: { maxAttempts: 4, minDelayMs: 1_000, factor: 10, jitter: 0.5 },
})

/** A queue that starts at noon, and when its handler ran, in ms after it. */
function queueAtNoon(
  handler: (n: number, attempt: number) => unknown = () => {},
  options: Partial<EagerQueueOptions> = {},
) {
  const runs: [n: number, atMs: number][] = []
  const queue = eagerQueue({
    now: noon,
    onError: 'record',
    handlers: [
      work.handle((n, { attempt }) => {
        runs.push([n, queue.now.getTime() - noon.getTime()])
        return handler(n, attempt)
      }),
    ],
    ...options,
  })
  return { queue, runs, elapsed: () => queue.now.getTime() - noon.getTime() }
}
const fail = () => {
  throw new Error('no')
}

describe('the clock', () => {
  test('starts where it is told, or now, and stands still', async () => {
    const { queue } = queueAtNoon()
    expect(queue.now).toEqual(noon)
    await work.enqueue(queue, 1)
    await new Promise((resolve) => setTimeout(resolve, 10))
    expect(queue.now).toEqual(noon)
    const before = Date.now()
    const unset = eagerQueue({ handlers: [] }).now.getTime()
    expect(unset).toBeGreaterThanOrEqual(before)
    expect(unset).toBeLessThanOrEqual(Date.now())
  })

  test('cannot be moved through what now answers, nor through the Date it was given', () => {
    const given = new Date(noon)
    const queue = eagerQueue({ handlers: [], now: given })
    queue.now.setFullYear(1999)
    given.setFullYear(1999)
    expect(queue.now).toEqual(noon)
  })
})

describe('delayed jobs', () => {
  // Mutant: its retry is at an invalid Date, and the clock with it.
  test('may wait for the last Date there is, and fail then', async () => {
    const { queue, runs } = queueAtNoon(fail)
    await work.enqueue(queue, 1, { executeAt: new Date(8.64e15) })
    expect(await queue.drain()).toBe(4)
    expect(queue.now).toEqual(new Date(8.64e15))
    expect(runs).toHaveLength(4)
  })

  // Mutant: delays ignored, as eager modes elsewhere do.
  test('wait, with delayMs and with executeAt; the past and no delay run at once', async () => {
    const { queue, runs } = queueAtNoon()
    await work.enqueueMany(queue, [
      { args: 1, delayMs: MINUTE },
      { args: 2, executeAt: new Date(noon.getTime() + HOUR) },
      { args: 3, executeAt: new Date(noon.getTime() - HOUR) },
      { args: 4, delayMs: 0 },
    ])
    expect(runs.map(([n]) => n)).toEqual([3, 4])
    expect(queue.jobs.map(({ state, executeAt }) => [state, executeAt?.getTime()])).toEqual([
      ['scheduled', noon.getTime() + MINUTE],
      ['scheduled', noon.getTime() + HOUR],
      ['completed', undefined],
      ['completed', undefined],
    ])
  })

  // Mutant: a ms too early; the clock put to the end before the jobs run.
  test('advance(ms) runs what becomes due, each at its own time, and moves the clock by just that', async () => {
    const { queue, runs, elapsed } = queueAtNoon()
    for (const [n, delayMs] of [
      [2, 2 * MINUTE],
      [3, 3 * MINUTE],
      [1, MINUTE],
    ] as const)
      await work.enqueue(queue, n, { delayMs })
    expect(await queue.advance(MINUTE - 1)).toBe(0)
    expect(await queue.advance(1)).toBe(1)
    expect(await queue.advance(90_000)).toBe(1)
    expect(elapsed()).toBe(150_000)
    expect(await queue.advance(HOUR)).toBe(1)
    expect(runs).toEqual([
      [1, MINUTE],
      [2, 2 * MINUTE],
      [3, 3 * MINUTE],
    ])
    expect(elapsed()).toBe(150_000 + HOUR)
  })

  test('drain() runs all of them, moving the clock to the last', async () => {
    const { queue, runs, elapsed } = queueAtNoon()
    await work.enqueueMany(queue, [
      { args: 1, delayMs: 30 * 24 * HOUR },
      { args: 2, delayMs: MINUTE },
    ])
    expect(await queue.drain()).toBe(2)
    expect(runs).toEqual([
      [2, MINUTE],
      [1, 30 * 24 * HOUR],
    ])
    expect(elapsed()).toBe(30 * 24 * HOUR)
  })

  test('run in the order of their times; of one time, by priority', async () => {
    const { queue, runs } = queueAtNoon(undefined, { mode: 'manual' })
    await work.enqueueMany(queue, [
      { args: 1, delayMs: 20 },
      { args: 2, delayMs: 10 },
      { args: 3, delayMs: 20, priority: 1 },
      { args: 4 },
    ])
    await queue.drain()
    expect(runs.map(([n]) => n)).toEqual([4, 2, 3, 1])
  })

  test('of a delayed job that enqueues a delayed one: both run within one advance', async () => {
    const { queue, runs } = queueAtNoon(async (n) => {
      if (n === 1) await work.enqueue(queue, 2, { delayMs: MINUTE })
    })
    await work.enqueue(queue, 1, { delayMs: MINUTE })
    expect(await queue.advance(2 * MINUTE)).toBe(2)
    expect(runs).toEqual([
      [1, MINUTE],
      [2, 2 * MINUTE],
    ])
  })

  test('enqueueing inline does not move the clock, nor run what is not due', async () => {
    const { queue, runs, elapsed } = queueAtNoon()
    await work.enqueue(queue, 1, { delayMs: 1 })
    await work.enqueue(queue, 2)
    expect([runs, elapsed()]).toEqual([[[2, 0]], 0])
  })
})

describe('retries', () => {
  // Mutant: random delays: a test could not say when.
  test('wait for the longest delay that the policy allows, each time the same', async () => {
    const { queue, runs } = queueAtNoon(fail)
    await work.enqueue(queue, 1)
    expect(queue.jobs[0]).toMatchObject({ state: 'scheduled', executeAt: new Date(noon.getTime() + 1_000) })
    await queue.advance(1_000)
    await queue.advance(9_999)
    expect(runs.length).toBe(2)
    await queue.drain()
    expect(runs.map(([, at]) => at)).toEqual([0, 1_000, 11_000, 111_000])
    expect(queue.jobs[0]).toMatchObject({ state: 'dead', reason: 'exhausted', executeAt: null })
    expect(queue.jobs[0]!.errors.map(({ at }) => Date.parse(at) - noon.getTime())).toEqual([0, 1_000, 11_000, 111_000])
  })

  test('retryAfter and snooze go by the same clock', async () => {
    const { queue, runs } = queueAtNoon((n, attempt) => {
      if (attempt > 1) return
      if (n === 1) return retryAfter(HOUR)
      return queue.now.getTime() === noon.getTime() ? snooze(2 * HOUR) : undefined
    })
    await work.enqueue(queue, 1)
    await work.enqueue(queue, 2)
    expect(queue.jobs.map(({ attempts }) => attempts)).toEqual([1, 0])
    await queue.drain()
    expect(runs.slice(2)).toEqual([
      [1, HOUR],
      [2, 2 * HOUR],
    ])
  })

  test('drain({ maxJobs }) stops in the middle of them', async () => {
    const { queue, runs } = queueAtNoon(fail, { mode: 'manual' })
    await work.enqueue(queue, 1)
    expect(await queue.drain({ maxJobs: 2 })).toBe(2)
    expect(queue.jobs[0]).toMatchObject({ state: 'scheduled', attempts: 2 })
    expect(runs.length).toBe(2)
  })
})

test('a handler sees the times of its job by the same clock', async () => {
  const seen: Date[] = []
  const queue = eagerQueue({
    now: noon,
    handlers: [work.handle((_, { createdAt, readyAt }) => seen.push(createdAt, readyAt))],
  })
  await work.enqueue(queue, 1, { delayMs: HOUR })
  await queue.advance(2 * HOUR)
  expect(seen).toEqual([noon, new Date(noon.getTime() + HOUR)])
})
