import { bucketEndMs, bucketOf, InvalidOptionError, recordStats } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { statistics, statisticsByTask } from '../src/index.js'
import { percentilesOf } from '../src/percentiles.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const { pool } = openQueue(database)
beforeEach(() => database.truncate())

interface Ends {
  task?: string
  queue?: string
  completed?: number
  retried?: number
  failed?: number
  waitMs?: readonly number[]
  runMs?: readonly number[]
}

const histogram = (durations: readonly number[] = []) => {
  const counts = new Map<number, number>()
  for (const ms of durations) counts.set(bucketOf(ms), (counts.get(bucketOf(ms)) ?? 0) + 1)
  return counts
}

/** What a worker wrote at that instant. */
async function ended(at: string, { waitMs, runMs, ...ends }: Ends): Promise<void> {
  const none = { completed: 0, retried: 0, snoozed: 0, exhausted: 0, failed: 0, cancelled: 0 }
  const row = { queue: 'default', task: 'mail', ...none, ...ends, waits: histogram(waitMs), runs: histogram(runMs) }
  await recordStats(pool, 'pgq', [row])
  await pool.query(
    `update pgq.job_stats set begun_at = $1::timestamptz where id = (select max(id) from pgq.job_stats)`,
    [at],
  )
}

// Half an hour ago, where five minutes begin.
const begin = Math.floor(Date.now() / 300_000 - 6) * 300_000
const after = (minutes: number) => new Date(begin + minutes * 60_000)
const at = (minutes: number) => after(minutes).toISOString()

describe('percentiles', () => {
  // Mutants: the bucket's end for all of it; ranks from the top; buckets not sorted; a bucket that comes twice counted once.
  test('are within the width of a bucket of the true ones', () => {
    const durations = Array.from({ length: 10_000 }, (_, n) => 1.5 ** (n / 500))
    const found = percentilesOf([...histogram(durations)].reverse())!
    for (const [share, ms] of [
      [0.5, found.p50],
      [0.95, found.p95],
      [0.99, found.p99],
    ] as const) {
      expect(ms / durations[share * 10_000]!).toBeGreaterThan(0.95)
      expect(ms / durations[share * 10_000]!).toBeLessThan(1.05)
    }
    expect(percentilesOf([...histogram(durations), ...histogram(durations)])).toEqual(found)
  })

  test('of one duration are in its bucket, of none are none', () => {
    const { p50, p99 } = percentilesOf([[bucketOf(100), 1]])!
    expect(p50).toBeGreaterThan(bucketEndMs(bucketOf(100) - 1))
    expect(p99).toBeLessThanOrEqual(bucketEndMs(bucketOf(100)))
    expect(percentilesOf([])).toBeUndefined()
  })
})

describe('statistics', () => {
  // Mutants: gaps left out; rows of several workers not added up; until's step missing.
  test('adds up step by step, without gaps', async () => {
    await ended(at(0), { completed: 2, waitMs: [1, 1], runMs: [10, 10] })
    await ended(at(0), { completed: 1, retried: 1, waitMs: [1, 1], runMs: [10, 10] })
    await ended(at(2), { task: 'bill', failed: 1, waitMs: [1_000], runMs: [50] })
    const { stepMs, steps, total } = await statistics(pool, { since: after(0), until: after(3) })
    expect(stepMs).toBe(60_000)
    const none = {
      ...{ completed: 0, retried: 0, snoozed: 0, lost: 0 },
      dead: { exhausted: 0, failed: 0, cancelled: 0, crashed: 0 },
    }
    const percentiles = { p50: expect.any(Number), p95: expect.any(Number), p99: expect.any(Number) }
    expect(steps).toStrictEqual([
      { ...none, at: after(0), completed: 3, retried: 1, waitMs: percentiles, runMs: percentiles },
      { ...none, at: after(1) },
      { ...none, at: after(2), dead: { ...none.dead, failed: 1 }, waitMs: percentiles, runMs: percentiles },
    ])
    expect(total).toMatchObject({ completed: 3, retried: 1, dead: { failed: 1 } })
    expect(total.waitMs!.p50).toBeLessThanOrEqual(1)
    expect(total.waitMs!.p99).toBeGreaterThan(800)
    expect(steps[2]!.runMs!.p50 / 50).toBeCloseTo(1, 0)
  })

  test('filters, and widens to whole steps', async () => {
    await ended(at(1), { completed: 1 })
    await ended(at(1), { completed: 2, task: 'bill' })
    await ended(at(1), { completed: 4, queue: 'other' })
    const request = { since: after(0.5), until: after(6), stepMs: 300_000 }
    const completed = async (filter: object) =>
      (await statistics(pool, { ...request, ...filter })).steps.map((step) => step.completed)
    expect(await completed({})).toEqual([7, 0])
    expect(await completed({ task: 'mail' })).toEqual([5, 0])
    expect(await completed({ queue: 'default', task: 'bill' })).toEqual([2, 0])
  })

  test('is of the last hour by default, the present minute included', async () => {
    await ended(new Date().toISOString(), { completed: 1 })
    const { steps, total } = await statistics(pool)
    expect([60, 61]).toContain(steps.length)
    expect(total.completed).toBe(1)
  })

  // Mutant: lastMs counted back from the clock of this process.
  test.each([-6, 6])(
    'is of the last so many ms by the clock of the database, however that of the process is off: %d h',
    async (hours) => {
      await ended(new Date().toISOString(), { completed: 1 })
      await ended(new Date(Date.now() - 30 * 60_000).toISOString(), { completed: 2 })
      await ended(new Date(Date.now() - 90 * 60_000).toISOString(), { completed: 4 })
      vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + hours * 3_600_000 })
      onTestFinished(() => void vi.useRealTimers())
      const completed = async (lastMs: number) => [
        (await statistics(pool, { lastMs, stepMs: 300_000 })).total.completed,
        (await statisticsByTask(pool, { lastMs }))[0]!.completed,
      ]
      expect(await completed(600_000)).toEqual([1, 1])
      expect(await completed(3_600_000)).toEqual([3, 3])
      expect(await completed(2 * 3_600_000)).toEqual([7, 7])
    },
  )

  test('is of the last so many ms before until', async () => {
    await ended(at(0), { completed: 1 })
    await ended(at(5), { completed: 2 })
    const { steps, total } = await statistics(pool, { lastMs: 180_000, until: after(7) })
    expect([steps[0]!.at, steps.length, total.completed]).toEqual([after(4), 3, 2])
  })

  test('counts what workers took with them', async () => {
    await ended(at(0), {})
    await pool.query('update pgq.job_stats set crashed = 1, lost = 3')
    const { total } = await statistics(pool, { since: after(0), until: after(1) })
    expect(total).toMatchObject({ lost: 3, dead: { crashed: 1 } })
  })

  // Mutant: steps of minutes where only hours are kept, all of an hour's jobs in its first one.
  test('refuses what cannot be, and says what can', async () => {
    const refused = (request: object) => expect(statistics(pool, request)).rejects
    await refused({ stepMs: 90_000 }).toThrow(/whole minutes/)
    await refused({ stepMs: 0 }).toThrow(InvalidOptionError)
    await refused({ since: after(1), until: after(1) }).toThrow(/before until/)
    await refused({ lastMs: 5, since: after(0) }).toThrow(/since or lastMs, not both/)
    for (const lastMs of [0, -1, '1h', Number.NaN, Number.POSITIVE_INFINITY, null])
      await refused({ lastMs }).toThrow(/^lastMs is .*; use milliseconds over 0/)
    await expect(statisticsByTask(pool, { lastMs: 0 })).rejects.toThrow(/^lastMs is 0/)
    await refused({ lastMs: 25 * 3_600_000, stepMs: 300_000 }).toThrow(/multiple of 3600000/)
    await refused({ since: new Date(Number.NaN) }).toThrow(/valid Date/)
    await refused({ since: after(-25 * 60) }).toThrow(/more than 1500 steps/)
    await refused({ since: after(-25 * 60), stepMs: 300_000 }).toThrow(/multiple of 3600000/)
    await refused({ since: after(-6 * 60) }).toThrow(/multiple of 300000/)
    expect((await statistics(pool, { since: after(-720 * 60), stepMs: 3_600_000 })).steps.length).toBeGreaterThan(720)
  })
})

describe('statisticsByTask', () => {
  test('tells tasks apart, the busiest first', async () => {
    await ended(at(0), { completed: 1, runMs: [10] })
    await ended(at(1), { completed: 2, runMs: [10] })
    await ended(at(1), { task: 'bill', failed: 9 })
    await ended(at(1), { queue: 'other', completed: 1 })
    const tasks = await statisticsByTask(pool, { since: after(0), until: after(2) })
    expect(tasks.map(({ queue, task, completed }) => [queue, task, completed])).toEqual([
      ['default', 'bill', 0],
      ['default', 'mail', 3],
      ['other', 'mail', 1],
    ])
    expect(tasks[1]!.runMs!.p50).toBeLessThanOrEqual(bucketEndMs(bucketOf(10)))
  })
})
