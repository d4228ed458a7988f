import { describe, expect, test } from 'vitest'
import { bucketEndMs, bucketOf, compactStats, type JobStats, recordStats, STATS_BATCH } from '../src/index.js'
import { queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { rows, pool } = database

const stats = (counts: Partial<JobStats> = {}): JobStats => ({
  ...{ queue: 'default', task: 'mail', completed: 0, retried: 0, snoozed: 0, exhausted: 0, failed: 0, cancelled: 0 },
  ...{ waits: new Map(), runs: new Map() },
  ...counts,
})

/** Moves what is there into the past. */
const age = (interval: string, where = 'true') =>
  pool.query(`update pgq.job_stats set begun_at = begun_at - $1::interval where ${where}`, [interval])

const stored = () =>
  rows(`select grain, queue, task, completed, retried, lost, wait_buckets, wait_counts, run_buckets, run_counts
    from pgq.job_stats order by begun_at, queue, task, id`)

/** The counts by bucket, whatever their order. */
const histogram = (buckets: number[], counts: number[]) =>
  Object.fromEntries(buckets.map((bucket, place) => [bucket, counts[place]]))

describe('buckets', () => {
  // Mutants: floor for ceil (a duration beyond its bucket's end); a scale that begins elsewhere.
  test('hold what they say, 19 % wide, from 1/16 ms to 49 days', () => {
    for (const ms of [0.0626, 0.5, 1, 1.5, 7, 100, 3_600_000, 4e9]) {
      const bucket = bucketOf(ms)
      expect(ms).toBeLessThanOrEqual(bucketEndMs(bucket))
      expect(ms).toBeGreaterThan(bucketEndMs(bucket - 1))
    }
    expect(bucketEndMs(5) / bucketEndMs(4)).toBeCloseTo(1.189, 3)
    expect([bucketEndMs(0), bucketEndMs(16), bucketEndMs(144)]).toEqual([1 / 16, 1, 2 ** 32])
  })

  test('take whatever a clock says', () => {
    expect([0, -5, Number.NaN, 1e-9].map(bucketOf)).toEqual([0, 0, 0, 0])
    expect([1e30, Number.POSITIVE_INFINITY].map(bucketOf)).toEqual([144, 144])
  })
})

describe('recordStats', () => {
  test('appends a row per queue and task, under the minute of the server', async () => {
    const waits = new Map([[3, 2]])
    const runs = new Map([
      [144, 1],
      [0, 1],
    ])
    await recordStats(pool, 'pgq', [stats({ completed: 2, retried: 1, waits, runs }), stats({ queue: `o'ther` })])
    await recordStats(pool, 'pgq', [stats({ completed: 1 })])
    const mail = { grain: 'part', queue: 'default', task: 'mail', lost: 0 }
    const none = { wait_buckets: [], wait_counts: [], run_buckets: [], run_counts: [] }
    expect(await stored()).toEqual([
      {
        ...{ ...mail, completed: 2, retried: 1, wait_buckets: [3], wait_counts: [2] },
        ...{ run_buckets: [144, 0], run_counts: [1, 1] },
      },
      { ...mail, completed: 1, retried: 0, ...none },
      { ...mail, queue: `o'ther`, completed: 0, retried: 0, ...none },
    ])
    expect(await rows(`select from pgq.job_stats where begun_at <> date_trunc('minute', now())`)).toHaveLength(0)
  })
})

describe('compactStats', () => {
  // Mutants: the present minute taken; sums over queues or tasks; a bucket's counts lost; lost not summed.
  test('makes one row of what a past minute has, and leaves the present one alone', async () => {
    const counted = stats({
      completed: 2,
      waits: new Map([[3, 2]]),
      runs: new Map([
        [1, 1],
        [7, 1],
      ]),
    })
    await recordStats(pool, 'pgq', [counted, counted, stats({ task: 'bill', retried: 1 })])
    await age('1 minute')
    await pool.query(`update pgq.job_stats set lost = 1 where task = 'mail'`)
    await recordStats(pool, 'pgq', [counted])
    expect(await compactStats(pool, 'pgq')).toBe(3)
    const [bill, mail, present, ...more] = await stored()
    expect(more).toEqual([])
    expect(bill).toMatchObject({ grain: 'minute', task: 'bill', retried: 1, wait_buckets: [], run_counts: [] })
    expect(mail).toMatchObject({ grain: 'minute', task: 'mail', completed: 4, lost: 2, wait_counts: [4] })
    expect(histogram(mail.run_buckets, mail.run_counts)).toEqual({ 1: 2, 7: 2 })
    expect(present).toMatchObject({ grain: 'part', completed: 2 })
    expect(await compactStats(pool, 'pgq')).toBe(0)
  })

  // Mutants: a minute in the five minutes before or after its own; all of an hour in one row already.
  test('makes five minutes of minutes after two hours, and hours of those after a day, which it removes after 30', async () => {
    await recordStats(pool, 'pgq', [stats({ completed: 1, runs: new Map([[1, 1]]) })])
    await pool.query(`update pgq.job_stats set grain = 'minute', begun_at = date_trunc('hour', now(), 'UTC')`)
    for (const minutes of [1, 4, 5, 59])
      await pool.query(
        `insert into pgq.job_stats (begun_at, grain, queue, task, completed, run_buckets, run_counts)
         select begun_at + $1 * interval '1 minute', grain, queue, task, completed, run_buckets, run_counts
         from pgq.job_stats order by begun_at limit 1`,
        [minutes],
      )
    await age('1 hour')
    expect(await compactStats(pool, 'pgq')).toBe(0)
    await age('3 hours')
    expect(await compactStats(pool, 'pgq')).toBe(5)
    expect(
      await rows(`select grain, completed, run_counts, begun_at - (date_trunc('hour', now(), 'UTC') - interval '4 hours') as since
        from (select * from pgq.job_stats order by begun_at) as stat`),
    ).toMatchObject([
      { grain: 'five minutes', completed: 3, run_counts: [3], since: {} },
      { grain: 'five minutes', completed: 1, since: { minutes: 5 } },
      { grain: 'five minutes', completed: 1, since: { minutes: 55 } },
    ])
    expect(await compactStats(pool, 'pgq')).toBe(0)
    await age('18 hours')
    expect(await compactStats(pool, 'pgq')).toBe(0)
    await age('4 hours')
    expect(await compactStats(pool, 'pgq')).toBe(3)
    expect(await stored()).toMatchObject([{ grain: 'hour', completed: 5, run_buckets: [1], run_counts: [5] }])
    expect(
      await rows(`select from pgq.job_stats where begun_at <> date_trunc('hour', now(), 'UTC') - interval '26 hours'`),
    ).toEqual([])
    await age('28 days')
    expect(await compactStats(pool, 'pgq')).toBe(0)
    await age('2 days')
    expect(await compactStats(pool, 'pgq')).toBe(1)
    expect(await stored()).toEqual([])
  })

  // Mutant: a second compaction that waits for the first, or that fails.
  test('takes other rows than one that is under way', async () => {
    await recordStats(pool, 'pgq', [stats({ completed: 1 })])
    await age('1 minute')
    const other = await pool.connect()
    await other.query('begin')
    expect(await compactStats(other, 'pgq')).toBe(1)
    expect(await compactStats(pool, 'pgq')).toBe(0)
    await other.query('commit')
    other.release()
    expect(await stored()).toMatchObject([{ grain: 'minute', completed: 1 }])
  })

  test('takes so many rows at once', async () => {
    await recordStats(
      pool,
      'pgq',
      Array.from({ length: STATS_BATCH + 1 }, () => stats({ completed: 1 })),
    )
    await age('1 minute')
    expect(await compactStats(pool, 'pgq')).toBe(STATS_BATCH)
    expect(await compactStats(pool, 'pgq')).toBe(1)
    expect(await rows('select sum(completed)::integer as completed from pgq.job_stats')).toEqual([
      { completed: STATS_BATCH + 1 },
    ])
  })

  // Mutant: an hour in the session's time zone, which may be half an hour off.
  test('means the same minutes and hours in every time zone', async () => {
    await recordStats(pool, 'pgq', [stats({ completed: 1 })])
    await pool.query(
      `update pgq.job_stats set grain = 'five minutes', begun_at = date_trunc('hour', now(), 'UTC') - interval '30 h'`,
    )
    const abroad = await pool.connect()
    await abroad.query(`set timezone = 'Asia/Kathmandu'`)
    await compactStats(abroad, 'pgq')
    abroad.release(true)
    expect(
      await rows(`select from pgq.job_stats where begun_at = date_trunc('hour', now(), 'UTC') - interval '30 h'`),
    ).toHaveLength(1)
  })
})
