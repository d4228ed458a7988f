import { describe, expect, test } from 'vitest'
import {
  deleteDeadJobs,
  deleteWaitingJobs,
  enqueueMany,
  InvalidOptionError,
  redriveDeadJobs,
  retryScheduledJobs,
  returnJobs,
} from '../src/index.js'
import { leaseJobs, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number, options = {}) => Array.from({ length: count }, (_, args) => ({ args, ...options }))
const argsIn = async (table: string) =>
  (await database.rows(`select args from pgq.${table} order by id`)).map(({ args }) => args)

async function bury(count: number, options = {}): Promise<string[]> {
  const { workerId, jobs: claimed } = await leaseJobs(pool, jobs(count, options))
  const error = { attempt: 1, at: '', name: 'Error', message: 'no' }
  const returns = claimed.map(({ ordinal }) => ({
    number: 1,
    ordinal,
    kind: 'bury' as const,
    reason: 'failed' as const,
    error,
  }))
  await returnJobs(pool, 'pgq', { workerId, returns })
  return claimed.map(({ id }) => id)
}

test('redriveDeadJobs: back at once, counted from zero, with their history and options', async () => {
  const ids = await bury(3, { priority: 5, retry: { maxAttempts: 2 } })
  expect(await redriveDeadJobs(pool, { ids: [ids[0]!, ids[2]!, '999'] })).toBe(2)
  expect(await argsIn('dead_jobs')).toEqual([1])
  expect(await database.rows('select * from pgq.jobs order by position')).toMatchObject([
    {
      id: ids[0],
      args: 0,
      attempt: 0,
      crash_count: 0,
      priority: 5,
      retry: { maxAttempts: 2 },
      errors: [{ message: 'no' }],
    },
    { id: ids[2], args: 2, execute_at: null },
  ])
})

test('deleteDeadJobs takes dead letters only', async () => {
  await bury(2)
  await enqueueMany(pool, 'work', jobs(1))
  expect(await deleteDeadJobs(pool, { task: 'work' })).toBe(2)
  expect([await argsIn('dead_jobs'), await argsIn('jobs')]).toEqual([[], [0]])
})

test('deleteWaitingJobs takes ready and scheduled ones, not those that run', async () => {
  await leaseJobs(pool, jobs(1))
  await enqueueMany(pool, 'work', [
    { args: 'ready' },
    { args: 'later', delayMs: 60_000 },
    { args: 'other', queue: 'other' },
  ])
  expect(await deleteWaitingJobs(pool, { queue: 'default' })).toBe(2)
  expect(await argsIn('jobs')).toEqual(['other'])
  expect(await database.rows('select ids from pgq.leases')).toHaveLength(1)
})

test('retryScheduledJobs makes them ready, behind what is', async () => {
  const [late] = await enqueueMany(pool, 'work', [
    { args: 'late', delayMs: 60_000 },
    { args: 'ready' },
    { args: 'later', delayMs: 60_000 },
  ])
  expect(await retryScheduledJobs(pool, { ids: [late!.id] })).toBe(1)
  const rows = await database.rows('select args from pgq.jobs where execute_at is null order by position')
  expect(rows).toEqual([{ args: 'ready' }, { args: 'late' }])
})

describe('the filter', () => {
  test('all conditions must fit', async () => {
    await enqueueMany(pool, 'work', jobs(2, { queue: 'a' }))
    await enqueueMany(pool, 'play', jobs(2, { queue: 'a' }))
    await enqueueMany(pool, 'work', jobs(2, { queue: 'b' }))
    expect(await deleteWaitingJobs(pool, { queue: 'a', task: 'work' })).toBe(2)
    expect(await deleteWaitingJobs(pool, { queue: 'a', task: 'nothing' })).toBe(0)
    expect(await deleteWaitingJobs(pool, { ids: [] })).toBe(0)
    expect(await argsIn('jobs')).toHaveLength(4)
  })

  test('without a condition is refused, and so is what is no id', async () => {
    for (const manage of [redriveDeadJobs, deleteDeadJobs, deleteWaitingJobs, retryScheduledJobs]) {
      await expect(manage(pool, {})).rejects.toThrow(InvalidOptionError)
      await expect(manage(pool, { ids: ['1; drop'] })).rejects.toThrow('is no job id')
    }
  })

  test('limit bounds one call, oldest first', async () => {
    await enqueueMany(pool, 'work', jobs(5))
    expect(await deleteWaitingJobs(pool, { task: 'work' }, { limit: 2 })).toBe(2)
    expect(await argsIn('jobs')).toEqual([2, 3, 4])
  })
})
