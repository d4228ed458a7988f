import { expect, test } from 'vitest'
import { MODES, numbered, queue, until } from './queue.js'

const db = await queue()

test.each(MODES)('%s: of a hundred calls with one key, as many run as had ended before', async (mode) => {
  const task = numbered('unique', { mode })
  let running = 0
  let most = 0
  let runs = 0
  await db.worker([
    task.handle(async () => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setTimeout(resolve, 5))
      running -= 1
      runs += 1
    }),
  ])
  const statuses: string[] = []
  for (let n = 0; n < 100; n++) {
    statuses.push(
      (await task.enqueue(db.pool, n, { unique: { key: 'a', ...(mode === 'at-most-once' && { forMs: 20 }) } })).status,
    )
  }
  await db.empty()
  await until(() => runs === statuses.filter((status) => status === 'inserted').length)
  expect(statuses).toContain('duplicate')
  if (mode !== 'at-most-once') expect(most).toBe(1)
})

test('a worker removes the keys of jobs that have gone', async () => {
  const task = numbered('unique')
  await task.enqueueMany(
    db.pool,
    Array.from({ length: 50 }, (_, n) => ({ args: n, unique: { key: `${n}` } })),
  )
  await db.pool.query('delete from pgq.jobs')
  const kept = await task.enqueue(db.pool, 1, { unique: { key: 'kept' }, delayMs: 3_600_000 })
  await db.worker([task.handle(() => {})])
  await until(async () => (await db.value('select count(*) from pgq.job_keys')) === '1')
  expect(await task.enqueue(db.pool, 2, { unique: { key: 'kept' } })).toEqual({ status: 'duplicate', id: kept.id })
})
