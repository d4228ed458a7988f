import { defineTask, registerWorker, typed } from '@pgq/core'
import { migrate } from '@pgq/migrations'
import { beforeAll, beforeEach, expect, test } from 'vitest'
import { all, next, numbers, queue, until } from './queue.js'

const db = await queue()
const SCHEMAS = ['pgq', 'second'] as const

beforeAll(() => migrate(db.url, { schema: 'second' }))
beforeEach(() => db.truncate('second'))

const tasks = SCHEMAS.map((schema) => defineTask('work', { schema, args: typed<number>() }))

test('two queues in one database, each with a worker: jobs, names and ids of one are nothing to the other', async () => {
  const seen: [number[], number[]] = [[], []]
  const workers = await Promise.all(
    SCHEMAS.map((schema, n) => db.worker([tasks[n]!.handle((arg) => seen[n]!.push(arg))], { schema, concurrency: 1 })),
  )
  // Ids count from 1 in each.
  expect(workers.map(({ id }) => id)).toEqual([1, 1])
  await Promise.all(tasks.map((task) => task.enqueueMany(db.pool, numbers(500))))
  await until(() => seen[0].length >= 500 && seen[1].length >= 500)
  for (const one of seen) expect(one).toEqual(numbers(500).map(({ args }) => args))
  await workers[0]!.stop()
  const settled = next(workers[1]!, 'job.settled')
  await Promise.all(tasks.map((task) => task.enqueue(db.pool, -1)))
  await settled
  expect(seen[1].at(-1)).toBe(-1)
  expect(await db.rows('select args from pgq.jobs')).toEqual([{ args: -1 }])
})

// Mutant: one channel for all schemas.
test('the doorbell of one wakes nobody of the other', async () => {
  const workers = await Promise.all(
    SCHEMAS.map((schema, n) => db.worker([tasks[n]!.handle(() => {})], { schema, pollMs: 60_000 })),
  )
  for (const schema of SCHEMAS) {
    await until(async () => (await db.value(`select count(*) from ${schema}.idle_workers`)) === '1')
  }
  const client = await db.pool.connect()
  const rung: string[] = []
  client.on('notification', ({ channel }) => rung.push(channel))
  for (const schema of SCHEMAS) await client.query(`listen pgq_${schema}_1`)
  const settled = next(workers[1]!, 'job.settled')
  await tasks[1]!.enqueue(db.pool, 1)
  await settled
  await client.query('unlisten *')
  client.release()
  expect(rung).toEqual(['pgq_second_1'])
})

// Mutant: a liveness lock that does not name the schema: the lost worker 1 would live as long as the other worker 1 does.
test('a lost worker of one is rescued although a worker of the other, with the same id, lives', async () => {
  await db.worker([tasks[1]!.handle(() => {})], { schema: 'second' })
  const lost = await db.pool.connect()
  const description = { hostname: 'here', pid: 1, queues: ['default'], tasks: ['work'], locks: true, listens: true }
  expect(await registerWorker(lost, 'pgq', description)).toBe(1)
  lost.release(true)
  await until(async () => (await db.value("select count(*) from pg_locks where locktype = 'advisory'")) !== '0')
  const rescuer = db.idleWorker([tasks[0]!.handle(() => {})])
  const rescued = all(rescuer, 'workers.rescued')
  await rescuer.start()
  await until(async () => (await db.value('select count(*) from pgq.workers where id = 1')) === '0', 10_000)
  expect(rescued.map(({ workers }) => workers)).toEqual([[1]])
  expect(await db.value('select count(*) from second.workers')).toBe('1')
})
