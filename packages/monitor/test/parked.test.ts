import { cancelJobs, countMatching, deleteWaitingJobs, retryScheduledJobs, setPriority } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, describe, expect, test } from 'vitest'
import {
  backlog,
  countFitting,
  countJobs,
  failures,
  getJob,
  health,
  listParked,
  listReady,
  listScheduled,
} from '../src/index.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
const { pool } = queue
beforeEach(() => database.truncate())

/** A job that a claim has parked behind others of its key. */
const park = (key = 'account 7', of = 'default') =>
  queue.stored<string>(
    `insert into pgq.jobs (task, queue, execute_at, ready_at, meta)
    values ('mail', $2, 'infinity', now() - interval '1 hour', pgq.concurrency($1, 3)) returning id::text`,
    [key, of],
  )
const readyAt = (id: string) => queue.stored<Date>('select ready_at from pgq.jobs where id = $1', [id])

describe('parked jobs', () => {
  // Mutants: scheduled, for the end of time.
  test('are a state of their own, everywhere', async () => {
    const id = await park()
    const since = await readyAt(id)
    const count = { queue: 'default', task: 'mail', state: 'parked', jobs: 1 }
    expect(await countJobs(pool)).toStrictEqual([{ ...count, exact: true, oldest: since }])
    expect((await pool.query('select id::text, state, execute_at from pgq.job_states')).rows).toEqual([
      { id, state: 'parked', execute_at: since },
    ])
    expect((await pool.query('select * from pgq.queue_counts')).rows).toEqual([{ ...count, jobs: '1', oldest: since }])
    expect(await backlog(pool)).toStrictEqual([
      { queue: 'default', ready: 0, scheduled: 0, parked: 1, exact: true, workers: 0 },
    ])
    expect(await getJob(pool, id)).toMatchObject({
      state: 'parked',
      readyAt: since,
      meta: { concurrencyKey: 'account 7', concurrencyMax: '3' },
    })
    const listed = { id, queue: 'default', task: 'mail', priority: 0, attempt: 0, crashCount: 0 }
    expect(await listParked(pool)).toStrictEqual({
      jobs: [{ ...listed, createdAt: expect.any(Date), readyAt: since, concurrencyKey: 'account 7' }],
    })
    expect((await listScheduled(pool)).jobs).toEqual([])
    expect((await listReady(pool)).jobs).toEqual([])
    expect(await countFitting(pool, 'parked')).toEqual({ jobs: 1, isWhole: true })
    expect(await countFitting(pool, 'scheduled')).toEqual({ jobs: 0, isWhole: true })
  })

  test('are listed page by page, the oldest first', async () => {
    const ids = [await park('b'), await park('a', 'other'), await park('a'), await park('b', 'other')]
    const first = await listParked(pool, { limit: 3 })
    expect(first.jobs.map(({ id }) => id)).toEqual(ids.slice(0, 3))
    const rest = await listParked(pool, { limit: 3, after: first.next! })
    expect(rest.jobs.map(({ id }) => id)).toEqual(ids.slice(3))
    expect(rest).not.toHaveProperty('next')
    expect((await listParked(pool, { queue: 'other', withArgs: true })).jobs).toMatchObject([
      { id: ids[1], concurrencyKey: 'a', args: {} },
      { id: ids[3], concurrencyKey: 'b' },
    ])
  })

  test('are no delay: what is due next is told beside them', async () => {
    await park()
    const id = await queue.enqueue('mail', { delayMs: 3_600_000 })
    expect(await backlog(pool)).toMatchObject([
      {
        scheduled: 1,
        parked: 1,
        nextScheduledAt: await queue.stored('select execute_at from pgq.jobs where id = $1', [id]),
      },
    ])
    expect(await failures(pool)).toEqual({ failures: [], complete: true })
  })

  test('without a worker are a finding', async () => {
    await park()
    const { findings } = await health(pool)
    expect(findings.map(({ code }) => code)).toContain('queue-unserved')
    expect(findings.map(({ code }) => code)).not.toContain('due-jobs-late')
  })

  // Mutant: retryScheduledJobs makes them ready, and they are parked again.
  test('are steered as all that wait, and not hurried', async () => {
    await park()
    await park()
    await queue.enqueue('mail', { delayMs: 3_600_000 })
    expect(await countMatching(pool, 'waiting', { queue: 'default', state: 'scheduled' })).toBe(1)
    expect(await retryScheduledJobs(pool, { queue: 'default' })).toBe(1)
    expect(await setPriority(pool, { queue: 'default', state: 'parked' }, 5)).toBe(2)
    expect(await countMatching(pool, 'unfinished', { queue: 'default' })).toBe(3)
    const { jobs } = await listParked(pool)
    expect(jobs).toMatchObject([{ priority: 5 }, { priority: 5 }])
    expect(await cancelJobs(pool, { ids: [jobs[0]!.id] })).toBe(1)
    expect(await deleteWaitingJobs(pool, { queue: 'default', state: 'scheduled' })).toBe(0)
    expect(await deleteWaitingJobs(pool, { queue: 'default', state: 'parked' })).toBe(1)
    expect(await countJobs(pool)).toMatchObject([{ state: 'dead' }, { state: 'ready' }])
  })

  test('SQL may put a job off for ever without a key', async () => {
    const id = await queue.stored<string>(`select pgq.enqueue('mail', execute_at => 'infinity')::text`)
    const { jobs } = await listParked(pool)
    expect(jobs).toMatchObject([{ id }])
    expect(jobs[0]).not.toHaveProperty('concurrencyKey')
  })
})
