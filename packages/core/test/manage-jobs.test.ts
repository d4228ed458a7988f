import { describe, expect, test } from 'vitest'
import {
  cancelJobs,
  claimAndDelete,
  claimIntoLease,
  countMatching,
  databaseTime,
  deleteDeadJobs,
  deleteWaitingJobs,
  enqueueMany,
  InvalidOptionError,
  pauseQueue,
  redriveDeadJobs,
  resumeQueue,
  retryScheduledJobs,
  returnJobs,
  setPriority,
} from '../src/index.js'
import { claimRequest, leaseJobs, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const jobs = (count: number, options = {}) => Array.from({ length: count }, (_, args) => ({ args, ...options }))
const argsIn = async (table: string) =>
  (await database.rows(`select args from pgq.${table} order by id`)).map(({ args }) => args)

async function bury(count: number, options = {}, message = 'no'): Promise<string[]> {
  const { workerId, jobs: claimed } = await leaseJobs(pool, jobs(count, options))
  const error = { attempt: 1, at: '', name: 'TypeError', message }
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

// Mutant: the filter by state applied after the limit: the first call finds the ready jobs alone, and answers 0.
test('retryScheduledJobs is not held up by ready jobs in front', async () => {
  await enqueueMany(pool, 'work', jobs(3))
  await enqueueMany(pool, 'work', jobs(3, { delayMs: 60_000 }))
  expect(await retryScheduledJobs(pool, { task: 'work' }, { limit: 2 })).toBe(2)
  expect(await retryScheduledJobs(pool, { task: 'work' }, { limit: 2 })).toBe(1)
  expect(await retryScheduledJobs(pool, { task: 'work' }, { limit: 2 })).toBe(0)
})

test('setPriority moves waiting jobs, oldest first among their new neighbours', async () => {
  await enqueueMany(pool, 'work', [
    { args: 'old', priority: 1 },
    { args: 'new', priority: 5 },
    { args: 'later', delayMs: 60_000 },
  ])
  expect(await setPriority(pool, { task: 'work' }, 5)).toBe(2)
  expect(await database.rows('select distinct priority from pgq.jobs')).toEqual([{ priority: 5 }])
  const claimed = await claimAndDelete(pool, 'pgq', claimRequest(await newWorker(pool)))
  expect(claimed.map(({ args }) => args)).toEqual(['old', 'new'])
  await expect(setPriority(pool, { task: 'work' }, 40_000)).rejects.toThrow('use a whole number')
})

// Mutant: jobs that have the priority already counted: a caller that goes on while the limit is reached never ends.
test('setPriority comes to an end', async () => {
  await enqueueMany(pool, 'work', jobs(5))
  const answers: number[] = []
  do answers.push(await setPriority(pool, { queue: 'default' }, -3, { limit: 2 }))
  while (answers.at(-1) === 2)
  expect(answers).toEqual([2, 2, 1])
})

describe('asOf: what came, or came back, since is left out', () => {
  // Mutant: whatever it is goes to the database, which has an error of its own for it.
  test.each([
    'yesterday',
    '',
    'now',
    '2030-01-01',
    '2030-13-01T00:00:00Z',
    5,
    new Date(0),
    null,
    '2030-01-01T00:00:00',
  ])('what is no instant is refused: %j', async (asOf) => {
    await expect(redriveDeadJobs(pool, { task: 'work' }, { asOf: asOf as string })).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringMatching(/^asOf is .+; use an instant that databaseTime\(\) answered, as "20/),
    })
  })

  test.each([
    '2030-01-01T00:00:00Z',
    '2030-01-01T00:00:00.123456Z',
    '2030-01-01T05:30:00+05:30',
    new Date().toISOString(),
  ])('an instant is taken: %s', async (asOf) => {
    expect(await countMatching(pool, 'dead', { task: 'nobody' }, { asOf })).toBe(0)
  })

  // Mutant: dead letters by another instant: one that was redriven and died again is taken before those that were not.
  test('of dead letters', async () => {
    await bury(3)
    const asOf = await databaseTime(pool)
    const redrive = () => redriveDeadJobs(pool, { task: 'work' }, { asOf, limit: 2 })
    expect(await redrive()).toBe(2)
    await cancelJobs(pool, { task: 'work' })
    expect(await countMatching(pool, 'dead', { task: 'work' }, { asOf })).toBe(1)
    expect([await redrive(), await redrive()]).toEqual([1, 0])
    expect(await argsIn('jobs')).toEqual([2])
  })

  // Mutant: scheduled ones by when they were enqueued.
  test('of scheduled jobs', async () => {
    await enqueueMany(pool, 'work', jobs(3, { delayMs: 60_000 }))
    const asOf = await databaseTime(pool)
    const retry = () => retryScheduledJobs(pool, { task: 'work' }, { asOf, limit: 2 })
    expect(await retry()).toBe(2)
    const workerId = await newWorker(pool)
    const claimed = await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number: 1 })
    const returns = claimed.map(({ ordinal }) => ({
      number: 1,
      ordinal,
      kind: 'requeue' as const,
      attempt: 1,
      delayMs: 60_000,
    }))
    await returnJobs(pool, 'pgq', { workerId, returns })
    await enqueueMany(pool, 'work', jobs(1, { delayMs: 60_000 }))
    expect([await retry(), await retry()]).toEqual([1, 0])
  })

  // Mutants: waiting or running ones by since when they may run, which changes; no look at it.
  test('of waiting and running jobs', async () => {
    const { jobs: leased } = await leaseJobs(pool, jobs(1))
    await enqueueMany(pool, 'work', jobs(2, { delayMs: 60_000 }))
    const asOf = await databaseTime(pool)
    await retryScheduledJobs(pool, { task: 'work' }, { limit: 1 })
    await enqueueMany(pool, 'work', jobs(1))
    expect(leased).toHaveLength(1)
    expect(await countMatching(pool, 'unfinished', { task: 'work' }, { asOf })).toBe(3)
    expect(await setPriority(pool, { task: 'work' }, 3, { asOf })).toBe(2)
    expect(await cancelJobs(pool, { task: 'work' }, { asOf })).toBe(3)
    expect(await deleteWaitingJobs(pool, { task: 'work' }, { asOf })).toBe(0)
    await leaseJobs(pool, jobs(1))
    expect(await cancelJobs(pool, { task: 'work', state: 'running' }, { asOf })).toBe(0)
  })
})

// Mutant: all of them: one id that waits already keeps thousands from being redriven.
test('a dead letter whose id waits already stays one', async () => {
  const ids = await bury(3)
  await database.rows(`insert into pgq.jobs (id, task) values ($1, 'new')`, [ids[1]])
  expect(await redriveDeadJobs(pool, { task: 'work' })).toBe(2)
  expect(await database.rows('select id from pgq.dead_jobs')).toEqual([{ id: ids[1] }])
})

describe('countMatching', () => {
  test('counts what the call would hit, up to the limit', async () => {
    await bury(3)
    await database.rows('delete from pgq.leases')
    await leaseJobs(pool, jobs(2))
    await enqueueMany(pool, 'work', jobs(4))
    await enqueueMany(pool, 'work', jobs(5, { delayMs: 60_000 }))
    const all = { task: 'work' }
    expect(await countMatching(pool, 'dead', all)).toBe(3)
    await expect(countMatching(pool, 'scheduled' as 'dead', all)).rejects.toThrow('use waiting, unfinished, dead')
    expect(await countMatching(pool, 'waiting', all)).toBe(9)
    expect(await countMatching(pool, 'waiting', { state: 'scheduled' })).toBe(5)
    expect(await countMatching(pool, 'unfinished', all)).toBe(11)
    expect(await countMatching(pool, 'unfinished', { state: 'running' })).toBe(2)
    expect(await countMatching(pool, 'unfinished', all, { limit: 10 })).toBe(10)
    expect(await countMatching(pool, 'dead', all, { limit: 2 })).toBe(2)
    expect(await deleteWaitingJobs(pool, all)).toBe(9)
  })

  // What is changed in batches has to be counted whole first, or nobody knows when to stop.
  test('may count more than one call changes', async () => {
    await enqueueMany(pool, 'work', jobs(3))
    expect(await countMatching(pool, 'waiting', { task: 'work' }, { limit: 10_000_000 })).toBe(3)
    await expect(countMatching(pool, 'waiting', { task: 'work' }, { limit: 10_000_001 })).rejects.toThrow('to 10000000')
    await expect(deleteWaitingJobs(pool, { task: 'work' }, { limit: 100_001 })).rejects.toThrow('to 100000')
  })
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
      await expect(manage(pool, { queue: undefined } as object)).rejects.toThrow(InvalidOptionError)
      await expect(manage(pool, { ids: ['1; drop'] })).rejects.toThrow('is no job id')
      await expect(manage(pool, { ids: ['9223372036854775808'] })).rejects.toThrow('is no job id')
      // Mutant: ids that are no list passed over: then the call hits all jobs.
      for (const ids of ['17', null, '', 0, false]) {
        await expect(manage(pool, { ids } as object)).rejects.toThrow('must be a list')
      }
      await expect(manage(pool, undefined as never)).rejects.toThrow('Name the jobs')
      await expect(manage(pool, { queue: '' })).rejects.toThrow('not empty')
      await expect(manage(pool, { task: 'work' }, { limit: 0 })).rejects.toThrow('limit is 0')
    }
  })

  // Mutant: unknown conditions passed over: a misspelt one deletes the whole queue.
  test('what its kind of jobs does not have is refused', async () => {
    await enqueueMany(pool, 'work', jobs(1))
    const misspelt = { queue: 'default', taks: 'other' } as object
    await expect(deleteWaitingJobs(pool, misspelt)).rejects.toThrow('There is no condition "taks" here')
    await expect(deleteWaitingJobs(pool, { queue: 'default', error: 'x' } as object)).rejects.toThrow('"error"')
    await expect(redriveDeadJobs(pool, { queue: 'default', state: 'ready' } as object)).rejects.toThrow('"state"')
    await expect(deleteWaitingJobs(pool, { state: 'running' } as object)).rejects.toThrow('use ready, scheduled')
    await expect(redriveDeadJobs(pool, { reason: 'bored' } as object)).rejects.toThrow('use exhausted')
    expect(await argsIn('jobs')).toHaveLength(1)
  })

  // Mutant: passed over: the jobs of another schema are hit.
  test.each(['second', { shema: 'second' }, { schema: null }, null])('%o are no options', async (options) => {
    await enqueueMany(pool, 'work', jobs(1))
    const refused = { code: 'PGQ_INVALID_OPTION' }
    await expect(deleteWaitingJobs(pool, { task: 'work' }, options as never)).rejects.toMatchObject(refused)
    await expect(pauseQueue(pool, 'default', options as never)).rejects.toMatchObject(refused)
    await expect(resumeQueue(pool, 'default', options as never)).rejects.toMatchObject(refused)
    expect(await argsIn('jobs')).toHaveLength(1)
  })

  test('by state', async () => {
    await enqueueMany(pool, 'work', [{ args: 'ready' }, { args: 'later', delayMs: 60_000 }])
    expect(await deleteWaitingJobs(pool, { state: 'scheduled' })).toBe(1)
    expect(await argsIn('jobs')).toEqual(['ready'])
  })

  // Mutant: LIKE without escapes: 100% finds 1000, and _ finds anything.
  test('dead letters by reason and by their last error, as it stands there', async () => {
    await bury(1, {}, 'disk 100% full')
    await database.rows('delete from pgq.leases')
    await bury(1, {}, 'disk 1000 full')
    await database.rows(`update pgq.dead_jobs set reason = 'cancelled' where errors -> -1 ->> 'message' like '%1000%'`)
    const count = (filter: object) => countMatching(pool, 'dead', filter)
    expect(await count({ error: '100%' })).toBe(1)
    expect(await count({ error: 'disk_100' })).toBe(0)
    expect(await count({ error: 'DISK' })).toBe(2)
    expect(await count({ error: 'typeerror: disk' })).toBe(2)
    expect(await count({ reason: 'cancelled' })).toBe(1)
    expect(await count({ reason: 'cancelled', error: '100%' })).toBe(0)
    expect(await deleteDeadJobs(pool, { error: '100%' })).toBe(1)
    expect(await database.rows('select reason from pgq.dead_jobs')).toEqual([{ reason: 'cancelled' }])
  })

  test('limit bounds one call, oldest first', async () => {
    await enqueueMany(pool, 'work', jobs(5))
    expect(await deleteWaitingJobs(pool, { task: 'work' }, { limit: 2 })).toBe(2)
    expect(await argsIn('jobs')).toEqual([2, 3, 4])
  })
})
