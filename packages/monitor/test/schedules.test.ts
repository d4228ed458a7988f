import { defineTask, fireSchedules, pauseSchedule, typed } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, describe, expect, test } from 'vitest'
import { getSchedule, listSchedules } from '../src/index.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
const { pool } = queue
beforeEach(() => database.truncate())

const report = defineTask('report', { args: typed<{ day: number }>(), queue: 'reports', priority: 5 })
const nightly = { name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin' }

describe('listSchedules', () => {
  test('tells what each enqueues, and when', async () => {
    const { nextAt } = await report.schedule(pool, { day: 1 }, nightly)
    await report.schedule(pool, { day: 2 }, { everyMs: 60_000, catchUp: 'skip' })
    const none = { pausedAt: null, lastAt: null, lastJobId: null, failedAt: null, error: null }
    expect(await listSchedules(pool)).toStrictEqual([
      {
        ...{ name: 'nightly', task: 'report', queue: 'reports', priority: 5 },
        ...{ cron: '0 3 * * *', timeZone: 'Europe/Berlin', everyMs: null, catchUp: 'one', nextAt, ...none },
      },
      {
        ...{ name: 'report', task: 'report', queue: 'reports', priority: 5 },
        ...{ cron: null, timeZone: 'UTC', everyMs: 60_000, catchUp: 'skip', nextAt: expect.any(Date), ...none },
      },
    ])
  })

  test('tells how it went: the last job, a failure, a pause, no slot any more', async () => {
    await report.schedule(pool, { day: 1 }, nightly)
    await pool.query('update pgq.schedules set next_at = now()')
    await fireSchedules(pool, 'pgq')
    expect(await listSchedules(pool)).toMatchObject([
      {
        lastAt: await queue.stored('select last_at from pgq.schedules'),
        lastJobId: await queue.stored('select id from pgq.jobs'),
      },
    ])
    await pool.query(`update pgq.schedules set next_at = now(), retry = '"often"'`)
    await fireSchedules(pool, 'pgq')
    await pauseSchedule(pool, 'nightly')
    await pool.query(`update pgq.schedules set next_at = 'infinity'`)
    expect(await listSchedules(pool)).toMatchObject([
      {
        nextAt: null,
        pausedAt: await queue.stored('select paused_at from pgq.schedules'),
        failedAt: await queue.stored('select failed_at from pgq.schedules'),
        error: expect.stringContaining('retry is "often"'),
      },
    ])
  })

  // Mutant: no limit.
  test('answers the first 1,000, in the order of their names', async () => {
    await pool.query(`
      insert into pgq.schedules (name, task, every_ms, next_at)
      select 'n' || to_char(1002 - n, 'FM0000'), 'report', 60000, now() from generate_series(1, 1001) as n`)
    const names = (await listSchedules(pool)).map(({ name }) => name)
    expect(names).toHaveLength(1_000)
    expect([names[0], names[999]]).toEqual(['n0001', 'n1000'])
  })
})

describe('getSchedule', () => {
  test('tells what is in the list, the retry policy, and the args when asked', async () => {
    await report.schedule(pool, { day: 1 }, { ...nightly, retry: { maxAttempts: 3 } })
    await report.schedule(pool, { day: 2 }, { everyMs: 60_000 })
    const [listed] = await listSchedules(pool)
    const details = { ...listed, retry: { maxAttempts: 3 }, nextSlots: expect.any(Array) }
    expect(await getSchedule(pool, 'nightly')).toStrictEqual(details)
    expect(await getSchedule(pool, 'nightly', { withArgs: true })).toStrictEqual({ ...details, args: { day: 1 } })
    expect(await getSchedule(pool, 'report')).toMatchObject({ name: 'report', retry: null })
  })

  test('there is none of that name; what is no name is refused', async () => {
    expect(await getSchedule(pool, 'nightly')).toBeUndefined()
    await expect(getSchedule(pool, '')).rejects.toThrow('The schedule name "" is not allowed')
  })

  const slotsOf = async () => (await getSchedule(pool, 'nightly'))?.nextSlots.map((slot) => slot.toISOString())

  // Mutants: the slots after the next one; those of UTC.
  test('five slots from the next one on, by the clock of the time zone', async () => {
    await report.schedule(pool, { day: 1 }, nightly)
    await pool.query(`update pgq.schedules set next_at = '2030-03-29T02:00Z'`)
    expect(await slotsOf()).toEqual([
      '2030-03-29T02:00:00.000Z',
      '2030-03-30T02:00:00.000Z',
      '2030-03-31T01:00:00.000Z',
      '2030-04-01T01:00:00.000Z',
      '2030-04-02T01:00:00.000Z',
    ])
  })

  test('as many slots as there are', async () => {
    await report.schedule(pool, { day: 1 }, nightly)
    await pool.query(`update pgq.schedules set next_at = 'infinity'`)
    expect(await slotsOf()).toEqual([])
  })

  // Mutant: from the next slot on, which passed while it was paused, and has no job when it is resumed.
  test('of a paused one those that it would have if it were resumed now', async () => {
    await report.schedule(pool, { day: 1 }, nightly)
    await pauseSchedule(pool, 'nightly')
    await pool.query(`update pgq.schedules set next_at = '2020-01-01T02:00Z'`)
    const now = await queue.now()
    const slots = (await getSchedule(pool, 'nightly'))!.nextSlots
    expect(slots).toHaveLength(5)
    expect(slots[0]!.getTime() - now.getTime()).toBeGreaterThan(0)
    expect(slots[0]!.getTime() - now.getTime()).toBeLessThanOrEqual(25 * 3_600_000)
  })

  // Mutant: the operator who looks for what is wrong gets an error.
  test.each([
    [`cron = 'often'`, { cron: 'often' }],
    [`time_zone = 'Mars'`, { timeZone: 'Mars' }],
  ])('one that is not understood is told all the same: %s', async (change, told) => {
    await report.schedule(pool, { day: 1 }, nightly)
    await pool.query(`update pgq.schedules set ${change}`)
    expect(await getSchedule(pool, 'nightly')).toMatchObject({ ...told, nextSlots: [] })
  })
})
