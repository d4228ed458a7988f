import { removeSchedule } from '@pgq/core'
import { expect, test } from 'vitest'
import { all, next, numbered, queue, until } from './queue.js'

const db = await queue()

const makeDue = (ago = '0 s') => db.pool.query('update pgq.schedules set next_at = now() - $1::interval', [ago])

test('a worker runs the job of each slot, and says in its meta which it is', async () => {
  const task = numbered('tick')
  const metas: Readonly<Record<string, string>>[] = []
  await task.schedule(db.pool, 1, { name: 'seconds', everyMs: 1_000 })
  await db.worker([task.handle((_, job) => metas.push(job.meta))])
  await until(() => metas.length === 3)
  expect(metas.map(({ schedule }) => schedule)).toEqual(['seconds', 'seconds', 'seconds'])
  const times = metas.map(({ slot }) => Date.parse(slot!))
  expect(times).toEqual([times[0], times[0]! + 1_000, times[0]! + 2_000])
})

// Mutant: put_schedule without the ring; the slot comes when the worker polls.
test('a sleeping worker hears of a new schedule, and waits for its slot', async () => {
  const task = numbered('tick')
  const startedAt: number[] = []
  await db.worker([task.handle(() => startedAt.push(Date.now()))], { pollMs: 600_000 })
  await until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '1')
  const { nextAt } = await task.schedule(db.pool, 1, { everyMs: 1_000 })
  await until(() => startedAt.length === 1)
  expect(startedAt[0]! - nextAt.getTime()).toBeLessThan(1_000)
  expect(startedAt[0]! - nextAt.getTime()).toBeGreaterThan(-20)
})

test('a worker fires schedules of tasks that it does not know, for those that do', async () => {
  const [mine, theirs] = [numbered('mine'), numbered('theirs', { queue: 'elsewhere' })]
  await theirs.schedule(db.pool, 1, { everyMs: 3_600_000 })
  await makeDue()
  await db.worker([mine.handle(() => {})])
  await until(async () => (await db.value('select count(*) from pgq.jobs')) === '1')
  const runs: number[] = []
  await db.worker([theirs.handle((n) => runs.push(n))])
  await until(() => runs.length === 1)
})

test('several workers: each slot runs once', async () => {
  const task = numbered('tick')
  const slots: string[] = []
  for (let n = 0; n < 4; n++)
    await db.worker([task.handle((_, job) => slots.push(`${job.meta.schedule} ${job.meta.slot}`))])
  for (const name of ['a', 'b', 'c']) await task.schedule(db.pool, 1, { name, everyMs: 1_000 })
  await until(() => slots.length >= 12)
  expect(new Set(slots).size).toBe(slots.length)
})

test('a worker that was away catches up as the schedule says', async () => {
  const task = numbered('tick')
  await task.schedule(db.pool, 1, { name: 'all', everyMs: 600_000, catchUp: 'all' })
  await task.schedule(db.pool, 2, { name: 'one', everyMs: 600_000 })
  await task.schedule(db.pool, 3, { name: 'skip', everyMs: 600_000, catchUp: 'skip' })
  await makeDue('25 min')
  const runs: number[] = []
  await db.worker([task.handle((n) => runs.push(n))])
  await until(() => runs.length === 4)
  expect(runs.toSorted()).toEqual([1, 1, 1, 2])
})

test('a busy worker keeps to its schedules', async () => {
  const task = numbered('tick')
  const long = numbered('long')
  let free = () => {}
  const held = new Promise<void>((resolve) => (free = resolve))
  const runs: number[] = []
  await db.worker([long.handle(() => held), task.handle((n) => runs.push(n))], { concurrency: 2 })
  await long.enqueue(db.pool, 1)
  await task.schedule(db.pool, 7, { everyMs: 1_000 })
  await until(() => runs.length === 2)
  free()
})

test('one that cannot have its job is told, and nothing else waits for it', async () => {
  const task = numbered('tick')
  await task.schedule(db.pool, 1, { name: 'wrong', everyMs: 60_000 })
  await task.schedule(db.pool, 2, { name: 'well', everyMs: 60_000 })
  await db.pool.query(`update pgq.schedules set every_ms = null, cron = 'never' where name = 'wrong'`)
  await makeDue()
  const runs: number[] = []
  const worker = db.idleWorker([task.handle((n) => runs.push(n))])
  const failed = next(worker, 'schedule.failed')
  const told = all(worker, 'schedule.failed')
  await worker.start()
  expect(await failed).toEqual({ schedule: 'wrong', error: expect.objectContaining({ code: 'PGQ_INVALID_OPTION' }) })
  await until(() => runs.length === 1)
  await worker.stop()
  expect(told).toHaveLength(1)
})

test('after removeSchedule no slot comes any more, while others go on', async () => {
  const [removed, other] = [numbered('removed'), numbered('other')]
  const runs: string[] = []
  await db.worker([removed.handle(() => runs.push('removed')), other.handle(() => runs.push('other'))])
  await removed.schedule(db.pool, 1, { everyMs: 1_000 })
  await until(() => runs.length === 1)
  await removeSchedule(db.pool, 'removed')
  await other.schedule(db.pool, 2, { everyMs: 1_000 })
  const before = runs.length
  await until(() => runs.length >= before + 3)
  expect(runs.slice(before + 1)).not.toContain('removed') // one may have been on its way
})
