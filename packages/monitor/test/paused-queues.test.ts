import { pauseQueue, resumeQueue } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, expect, test } from 'vitest'
import { listPausedQueues } from '../src/index.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())

// Mutant: queues that were resumed listed as well.
test('lists what is paused now, and since when', async () => {
  await pauseQueue(queue.pool, 'b')
  await pauseQueue(queue.pool, 'a')
  await pauseQueue(queue.pool, 'c')
  await resumeQueue(queue.pool, 'c')
  expect(await listPausedQueues(queue.pool)).toEqual([
    { queue: 'a', pausedAt: await queue.stored(`select paused_at from pgq.queues where name = 'a'`) },
    { queue: 'b', pausedAt: await queue.stored(`select paused_at from pgq.queues where name = 'b'`) },
  ])
})
