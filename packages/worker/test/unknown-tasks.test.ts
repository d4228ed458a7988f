import { enqueueMany } from '@pgq/core'
import { expect, test } from 'vitest'
import { all, MODES, next, numbered, numbers, queue, until } from './queue.js'

const db = await queue()

// Mutant: a claim without the task filter: jobs that this worker cannot run are taken and held, or counted as failed.
test.each(MODES)('%s: unknown tasks ahead of the others stop nobody, and wait unharmed', async (mode) => {
  const task = numbered('known', { mode })
  await enqueueMany(db.pool, 'unknown', numbers(2_000, { priority: 100 }))
  await enqueueMany(db.pool, 'also unknown', numbers(10, { priority: 100 }))
  await task.enqueueMany(db.pool, numbers(100))
  let runs = 0
  const worker = db.idleWorker([task.handle(() => (runs += 1))])
  const reported = all(worker, 'tasks.unknown')
  await worker.start()
  await until(() => runs === 100 && reported.length === 1)
  expect(reported.length).toBe(1)
  expect(reported[0]!.tasks).toContain('unknown')
  await worker.stop()
  expect(
    await db.rows('select task, state, attempt, count(*)::integer from pgq.job_states group by 1, 2, 3 order by 4'),
  ).toEqual([
    { task: 'also unknown', state: 'ready', attempt: 0, count: 10 },
    { task: 'unknown', state: 'ready', attempt: 0, count: 2_000 },
  ])
})

test('two kinds of workers on one queue: each takes what it knows, whoever is woken', async () => {
  const [a, b] = [numbered('a'), numbered('b')]
  const seen: string[] = []
  await db.worker([a.handle((n) => seen.push(`a${n}`))])
  await db.worker([b.handle((n) => seen.push(`b${n}`))])
  await until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '2')
  for (let n = 0; n < 5; n++) for (const task of [a, b]) await task.enqueue(db.pool, n)
  await until(() => seen.length === 10)
  expect(seen.toSorted()).toEqual(['a0', 'a1', 'a2', 'a3', 'a4', 'b0', 'b1', 'b2', 'b3', 'b4'])
})

test('jobs of a task that a later release knows run then', async () => {
  const [old, added] = [numbered('old'), numbered('added')]
  await added.enqueue(db.pool, 1)
  await old.enqueue(db.pool, 1)
  const before = await db.worker([old.handle(() => {})])
  await next(before, 'job.settled').catch(() => {})
  await before.stop()
  const after = db.idleWorker([old.handle(() => {}), added.handle(() => {})])
  const settled = next(after, 'job.settled')
  const reported = all(after, 'tasks.unknown')
  await after.start()
  expect(await settled).toMatchObject({ task: 'added', attempt: 1, outcome: { type: 'success' } })
  expect(reported).toEqual([])
})
