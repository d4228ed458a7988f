import { defineTask, typed } from '@pgq/core'
import { expect, test } from 'vitest'
import { eagerQueue } from '../src/index.js'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const noon = new Date('2030-01-01T12:00:00Z')
const report = defineTask('report', { args: typed<string>() })

function queueAtNoon(mode: 'inline' | 'manual' = 'inline') {
  const runs: string[] = []
  const queue = eagerQueue({
    now: noon,
    mode,
    handlers: [
      report.handle((name, { meta }) => runs.push(`${queue.now.toISOString().slice(0, 16)} ${name} ${meta.schedule}`)),
    ],
  })
  return { queue, runs }
}

test.each(['inline', 'manual'] as const)(
  '%s: each slot runs at its time, in order, when the clock is moved',
  async (mode) => {
    const { queue, runs } = queueAtNoon(mode)
    await report.schedule(queue, 'night', { name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin' })
    await report.schedule(queue, 'often', { name: 'eight-hourly', everyMs: 8 * HOUR })
    await report.enqueue(queue, 'once', { delayMs: 9 * HOUR })
    expect(runs).toEqual([])
    expect(await queue.advance(24 * HOUR)).toBe(5)
    expect(runs).toEqual([
      '2030-01-01T20:00 often eight-hourly',
      '2030-01-01T21:00 once undefined',
      '2030-01-02T02:00 night nightly',
      '2030-01-02T04:00 often eight-hourly',
      '2030-01-02T12:00 often eight-hourly',
    ])
    expect(queue.now.getTime() - noon.getTime()).toBe(24 * HOUR)
    expect(queue.enqueued(report, 'night')).toHaveLength(1)
  },
)

test('jobs of a schedule carry its concurrency key', async () => {
  const metas: unknown[] = []
  const queue = eagerQueue({ now: noon, handlers: [report.handle((_, { meta }) => void metas.push(meta))] })
  await report.schedule(queue, 'often', { name: 'hourly', everyMs: HOUR, concurrency: { key: 'report' } })
  await queue.advance(HOUR)
  expect(metas).toEqual([
    { concurrencyKey: 'report', concurrencyMax: '1', schedule: 'hourly', slot: '2030-01-01T13:00:00.000Z' },
  ])
})

test('drain() runs what waits, and no slots: they have no end', async () => {
  const { queue, runs } = queueAtNoon('manual')
  await report.schedule(queue, 'often', { everyMs: MINUTE })
  await report.enqueue(queue, 'once', { delayMs: HOUR })
  expect(await queue.drain()).toBe(1)
  expect(runs).toEqual(['2030-01-01T13:00 once undefined'])
})

test('what was scheduled can be looked at', async () => {
  const { queue } = queueAtNoon()
  await report.schedule(queue, 'a', { name: 'nightly', cron: '0 3 * * *', catchUp: 'skip' })
  await report.schedule(queue, 'b', { everyMs: MINUTE, queue: 'slow' })
  expect(queue.schedules).toEqual([
    {
      name: 'nightly',
      task: 'report',
      queue: 'default',
      timing: { cron: '0 3 * * *', timeZone: 'UTC' },
      catchUp: 'skip',
      nextAt: new Date('2030-01-02T03:00:00Z'),
    },
    {
      name: 'report',
      task: 'report',
      queue: 'slow',
      timing: { everyMs: MINUTE },
      catchUp: 'one',
      nextAt: new Date('2030-01-01T12:01:00Z'),
    },
  ])
  queue.clear()
  expect(queue.schedules).toEqual([])
})

test('one of the same name is changed, as in the database', async () => {
  const { queue, runs } = queueAtNoon()
  expect((await report.schedule(queue, 'a', { everyMs: 10 * MINUTE })).status).toBe('created')
  await queue.advance(5 * MINUTE)
  const again = await report.schedule(queue, 'a', { everyMs: 10 * MINUTE })
  expect(again).toEqual({ status: 'unchanged', name: 'report', nextAt: new Date('2030-01-01T12:10:00Z') })
  expect((await report.schedule(queue, 'b', { everyMs: 10 * MINUTE })).status).toBe('changed')
  await queue.advance(5 * MINUTE)
  expect(runs).toEqual(['2030-01-01T12:10 b report'])
  const retimed = await report.schedule(queue, 'b', { everyMs: MINUTE })
  expect(retimed).toEqual({ status: 'changed', name: 'report', nextAt: new Date('2030-01-01T12:11:00Z') })
})

test('schedules of an intercepted program go to the queue, and wrong ones are refused as ever', async () => {
  const { queue } = queueAtNoon()
  const pool = { query: () => Promise.reject(new Error('the database was asked')) }
  const undo = queue.intercept()
  try {
    await report.schedule(pool, 'a', { everyMs: MINUTE })
    await expect(report.schedule(pool, 'a', { cron: 'often' })).rejects.toThrow('cron "often" is not allowed')
    await expect(report.schedule(pool, 'a', { cron: '0 0 30 2 *' })).rejects.toThrow('no time in the future')
  } finally {
    undo()
  }
  expect(queue.schedules.map(({ name }) => name)).toEqual(['report'])
})

test('a slot whose handler throws ends the advance with its error, and the next one comes all the same', async () => {
  let broken = true
  const queue = eagerQueue({
    now: noon,
    handlers: [
      report.handle(() => {
        if (broken) throw new Error('broken')
      }),
    ],
  })
  await report.schedule(queue, 'a', { everyMs: MINUTE })
  await expect(queue.advance(MINUTE)).rejects.toThrow('broken')
  broken = false
  await queue.advance(5 * MINUTE)
  expect(queue.jobs.filter(({ state }) => state === 'completed').length).toBeGreaterThanOrEqual(5)
})
