import { describe, expect, test } from 'vitest'
import {
  claimAndDelete,
  claimIntoLease,
  enqueueMany,
  hangDoorbell,
  pauseQueue,
  promoteDueJobs,
  resumeQueue,
} from '../src/index.js'
import { claimRequest, EVERYTHING, inTransaction, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const pausedQueues = async () =>
  (await database.rows('select name from pgq.queues where paused_at is not null order by name')).map(({ name }) => name)
const both = {
  queues: ['mail', 'default'],
  after: [...EVERYTHING.after, ...EVERYTHING.after],
  upto: [...EVERYTHING.upto, ...EVERYTHING.upto],
}

test('pauseQueue and resumeQueue answer whether they changed anything', async () => {
  expect(await resumeQueue(pool, 'mail')).toBe(false)
  expect(await pauseQueue(pool, 'mail')).toBe(true)
  const since = await database.rows('select paused_at from pgq.queues')
  expect(await pauseQueue(pool, 'mail')).toBe(false)
  expect(await database.rows('select paused_at from pgq.queues')).toEqual(since)
  expect(await resumeQueue(pool, 'mail')).toBe(true)
  expect(await pausedQueues()).toEqual([])
  expect(await pauseQueue(pool, 'mail')).toBe(true)
  await expect(pauseQueue(pool, '')).rejects.toThrow('The queue name')
})

describe('a paused queue', () => {
  // Mutant: the claim asks only after it locked the jobs, or not at all.
  test('gives nothing to a claim, and the other queues all they have', async () => {
    await enqueueMany(pool, 'work', [{ args: 1, queue: 'mail' }, { args: 2 }])
    const workerId = await newWorker(pool, ['mail', 'default'])
    await pauseQueue(pool, 'mail')
    await inTransaction(pool, 'rollback', async (client) => {
      expect(await claimAndDelete(client, 'pgq', claimRequest(workerId, both))).toMatchObject([{ args: 2 }])
      expect(await database.rows('select args from pgq.jobs for update skip locked')).toEqual([{ args: 1 }])
    })
    expect(await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId, both), number: 1 })).toMatchObject([
      { args: 2 },
    ])
    await resumeQueue(pool, 'mail')
    expect(await claimAndDelete(pool, 'pgq', claimRequest(workerId, both))).toMatchObject([{ args: 1 }])
  })

  test('is paused with the transaction that pauses it', async () => {
    await enqueueMany(pool, 'work', [{ args: 1 }])
    const workerId = await newWorker(pool)
    await inTransaction(pool, 'rollback', async (client) => {
      await pauseQueue(client, 'default')
      expect(await claimAndDelete(client, 'pgq', claimRequest(workerId))).toEqual([])
      expect(await claimAndDelete(pool, 'pgq', claimRequest(workerId))).toHaveLength(1)
    })
  })

  // Mutant: ready jobs of a paused queue told to workers that sleep: they would look again and again.
  test('has its due jobs promoted, and wakes nobody for what is ready', async () => {
    await enqueueMany(pool, 'work', [{ args: 1 }, { args: 2, delayMs: 60_000 }])
    await database.rows(`update pgq.jobs set execute_at = now() - interval '1 s' where execute_at is not null`)
    await pauseQueue(pool, 'default')
    const request = { queues: ['default'], limit: 10, watchedTasks: ['work'] }
    expect(await promoteDueJobs(pool, 'pgq', request)).toMatchObject({ promoted: 1, ready: false })
    await resumeQueue(pool, 'default')
    expect(await promoteDueJobs(pool, 'pgq', request)).toMatchObject({ promoted: 0, ready: true })
  })

  test('wakes a worker when it is resumed, and only then', async () => {
    const listener = await database.connect()
    const rings: string[] = []
    listener.on('notification', ({ channel }) => rings.push(channel))
    await listener.query('listen mail_bell')
    const worker = await database.connect()
    const workerId = await newWorker(worker, ['mail'])
    await hangDoorbell(pool, 'pgq', { workerId, channel: 'mail_bell', queues: ['mail'] })
    await resumeQueue(pool, 'mail')
    await pauseQueue(pool, 'mail')
    await listener.query('select')
    expect(rings).toEqual([])
    await resumeQueue(pool, 'mail')
    await listener.query('select')
    expect(rings).toEqual(['mail_bell'])
  })
})
