import { once } from 'node:events'
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { enqueue, enqueueMany, hangDoorbell, ringDoorbell, takeDoorbell } from '../src/index.js'
import { inTransaction, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database

interface Idle {
  readonly workerId: number
  readonly client: pg.Client
  readonly heard: string[]
}

/** An idle worker that listens on a channel of its own. */
async function idleWorker(queues = ['default']): Promise<Idle> {
  const client = await database.connect()
  const workerId = await newWorker(client, queues)
  const heard: string[] = []
  client.on('notification', ({ channel }) => channel !== 'fence' && heard.push(channel))
  await client.query(`listen bell_${workerId}; listen fence`)
  await hangDoorbell(client, 'pgq', { workerId, channel: `bell_${workerId}`, queues })
  return { workerId, client, heard }
}

/** Notifications come in the order of their commits: what was sent before this has come when this has. */
async function quiet(workers: readonly Idle[]): Promise<void> {
  const fences = workers.map(({ client }) => once(client, 'notification', { signal: AbortSignal.timeout(5_000) }))
  const seen = workers.map(
    ({ client }) =>
      new Promise<void>((resolve) => client.on('notification', ({ channel }) => channel === 'fence' && resolve())),
  )
  await pool.query('notify fence')
  await Promise.all([...fences, ...seen])
}

const counts = (workers: readonly Idle[]) => workers.map(({ heard }) => heard.length)

test('rings for an idle worker of the queue, and for nobody else', async () => {
  const workers = [await idleWorker(), await idleWorker(['other'])]
  await enqueue(pool, 'work')
  await quiet(workers)
  expect(counts(workers)).toEqual([1, 0])
  await enqueue(pool, 'work', {}, { queue: 'other' })
  await enqueue(pool, 'work', {}, { queue: 'nobody' })
  await quiet(workers)
  expect(counts(workers)).toEqual([1, 1])
})

test('a worker that has taken its bell down is left alone', async () => {
  const worker = await idleWorker()
  await takeDoorbell(worker.client, 'pgq', { workerId: worker.workerId })
  await enqueue(pool, 'work')
  await quiet([worker])
  expect(worker.heard).toEqual([])
})

test('a busy database sends nothing: no notification without somebody idle', async () => {
  const worker = await idleWorker()
  await pool.query('truncate pgq.idle_workers')
  await enqueueMany(
    pool,
    'work',
    Array.from({ length: 100 }, () => ({})),
  )
  await quiet([worker])
  expect(worker.heard).toEqual([])
})

test('one transaction wakes one worker, once, whatever it enqueues; another may wake another', async () => {
  const workers = [await idleWorker(), await idleWorker(), await idleWorker()]
  await inTransaction(pool, 'commit', async (trx) => {
    for (let number = 0; number < 20; number++) await enqueue(trx, 'work', number)
  })
  await quiet(workers)
  expect(counts(workers).sort()).toEqual([0, 0, 1])
  const client = await pool.connect()
  for (let number = 0; number < 30; number++) await enqueue(client, 'work', number)
  client.release()
  await quiet(workers)
  expect(counts(workers).every((count) => count > 0)).toBe(true)
})

test('one that rolls back wakes nobody', async () => {
  const worker = await idleWorker()
  await inTransaction(pool, 'rollback', (trx) => enqueue(trx, 'work'))
  await quiet([worker])
  expect(worker.heard).toEqual([])
})

test('ringDoorbell wakes one per queue; a worker that is gone has no bell', async () => {
  const workers = [await idleWorker(), await idleWorker(['other'])]
  await ringDoorbell(pool, 'pgq', { queues: ['default', 'other', 'nobody'] })
  await quiet(workers)
  expect(counts(workers)).toEqual([1, 1])
  await pool.query('delete from pgq.workers')
  expect(await database.rows('select * from pgq.idle_workers')).toEqual([])
  await hangDoorbell(pool, 'pgq', { workerId: workers[0]!.workerId, channel: 'x', queues: ['default'] })
  expect(await database.rows('select * from pgq.idle_workers')).toEqual([])
})

test('the SQL functions ring as well', async () => {
  const worker = await idleWorker()
  await pool.query(`select pgq.enqueue('work'); select pgq.enqueue_many('[{"task": "work"}]')`)
  await quiet([worker])
  expect(worker.heard.length).toBeGreaterThan(0)
})

test('statements of two callers, one after the other on a pool, ring once in a while, and again after the last', async () => {
  const worker = await idleWorker()
  const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 1_000)
  try {
    // Each with one call after the other: ten statements in a row.
    const caller = async () => {
      for (let number = 0; number < 10; number++) await enqueue(pool, 'work', number)
    }
    await Promise.all([caller(), caller()])
    // Mutant: flush() that does not ring for what is owed.
    await expect.poll(() => worker.heard.length).toBe(2)
  } finally {
    clock.mockRestore()
  }
  await quiet([worker])
  expect(worker.heard).toHaveLength(2)
})

test('a stream needs one connection: what rings is a part of its statements', async () => {
  await idleWorker()
  const producer = new pg.Pool({ connectionString: database.url })
  onTestFinished(() => producer.end())
  let now = performance.now()
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => now)
  try {
    // Each with one call after the other, 3 ms between two statements: some of them ring, others do not.
    const caller = async (ms: number) => {
      for (let number = 0; number < 50; number++, now += ms) await enqueue(producer, 'work', number)
    }
    await Promise.all([caller(3), caller(0)])
    // Mutant: rings() after the statement.
    expect(producer.totalCount).toBe(1)
  } finally {
    clock.mockRestore()
  }
})

// A client may be in a transaction: who rings after its statement may ring before its commit.
test.each([1, 2])('statements of %d callers on a client all ring', async (callers) => {
  const worker = await idleWorker()
  const client = await pool.connect()
  for (let turn = 0; turn < 2; turn++) await Promise.all(Array.from({ length: callers }, () => enqueue(client, 'work')))
  client.release()
  await quiet([worker])
  expect(worker.heard).toHaveLength(2)
})
