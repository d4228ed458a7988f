import { CancelledError, cancelJobs, pauseQueue, resumeQueue, retryAfter, snooze } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { all, gate, MODES, next, numbered, numbers, queue, until } from './queue.js'

const db = await queue()
const deadReasons = async () =>
  (await db.rows('select reason from pgq.dead_jobs order by id')).map(({ reason }) => reason)

/** A handler that says when it began and ends when its signal aborts, by throwing what `end` answers. */
function abortable(end: (reason: unknown) => unknown = (reason) => Promise.reject(reason)) {
  const began = gate<{ id: string }>()
  const reasons: unknown[] = []
  return {
    began: began.opened,
    reasons,
    async run(_: number, job: { id: string; signal: AbortSignal }) {
      began.open(job)
      await new Promise((resolve) => job.signal.addEventListener('abort', resolve))
      reasons.push(job.signal.reason)
      return (await end(job.signal.reason)) as undefined
    },
  }
}

describe('cancelJobs', () => {
  // Mutants: no NOTIFY, or nobody who listens (the regular rescue comes after 12 s); an aborted handler retried.
  test.each(MODES)('%s: a running job hears of it at once, and ends as cancelled', async (mode) => {
    const handler = abortable()
    const task = numbered('work', { mode })
    const worker = await db.worker([task.handle(handler.run as never)])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    const { id } = await handler.began
    const asked = performance.now()
    expect(await cancelJobs(db.pool, { ids: [id] })).toBe(mode === 'at-most-once' ? 0 : 1)
    expect(await settled).toMatchObject({ jobId: id, settlement: { kind: 'bury', reason: 'cancelled' } })
    expect(performance.now() - asked).toBeLessThan(2_000)
    expect(handler.reasons).toEqual([expect.any(CancelledError)])
    expect(handler.reasons[0]).toMatchObject({ code: 'PGQ_CANCELLED', jobId: id })
    expect(await deadReasons()).toEqual(['cancelled'])
    expect(await db.value('select errors -> -1 ->> $1 from pgq.dead_jobs', ['message'])).toBe(
      'It was cancelled while it ran.',
    )
    expect(await db.value('select count(*)::int from pgq.cancellations')).toBe(0)
  })

  // Mutant: the handler's own decision heeded: a cancelled job comes back.
  test.each([
    ['a retry', () => retryAfter(0)],
    ['a snooze', () => snooze(0)],
  ])('%s that the handler asks for afterwards is not heeded', async (_, end) => {
    const handler = abortable(end)
    const task = numbered()
    const worker = await db.worker([task.handle(handler.run as never)])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await handler.began
    await cancelJobs(db.pool, { task: 'work' })
    await settled
    expect(await deadReasons()).toEqual(['cancelled'])
  })

  // Mutant: whatever the handler did counts as cancelled.
  test.each(MODES)('%s: a handler that succeeds all the same has succeeded', async (mode) => {
    const handler = abortable(() => undefined)
    const task = numbered('work', { mode })
    const worker = await db.worker([task.handle(handler.run as never)])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await cancelJobs(db.pool, { ids: [(await handler.began).id] })
    expect(await settled).toMatchObject({ settlement: { kind: 'complete' } })
    await db.empty()
    expect(await deadReasons()).toEqual([])
  })

  test('a handler that does not heed its signal is left without, and its job ends', async () => {
    const release = gate()
    const began = gate()
    const task = numbered()
    const worker = await db.worker([
      task.handle(async () => {
        began.open()
        await release.opened
      }),
    ])
    const stuck = next(worker, 'job.stuck')
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await began.opened
    await cancelJobs(db.pool, { task: 'work' })
    await stuck
    expect(await settled).toMatchObject({ settlement: { kind: 'bury', reason: 'cancelled' } })
    release.open()
  })

  // Mutant: only jobs that run are aborted: those that the worker holds ready start after their cancellation.
  test('jobs that were claimed and have not started end unrun', async () => {
    const release = gate()
    const ran: number[] = []
    const task = numbered()
    const worker = await db.worker(
      [
        task.handle(async (n) => {
          ran.push(n)
          if (n === 100) await release.opened
        }),
      ],
      { concurrency: 1 },
    )
    const settled = all(worker, 'job.settled')
    // Fast ones first, so that the worker claims ahead; then one that holds the slot.
    await task.enqueueMany(db.pool, [...numbers(100), { args: 100 }, { args: 101 }, { args: 102 }])
    await until(() => ran.includes(100) && settled.length === 100)
    expect(await cancelJobs(db.pool, { task: 'work' })).toBe(3)
    await until(async () => (await deadReasons()).length >= 2)
    release.open()
    await db.empty()
    expect(ran).toHaveLength(101)
  })

  // Mutant: what is found by the regular rescue is dropped.
  test('is found without NOTIFY, by the next rescue', async () => {
    const handler = abortable()
    const task = numbered()
    const worker = await db.worker([task.handle(handler.run as never)], { doorbell: false, leaseMs: 1_000 })
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await handler.began
    await cancelJobs(db.pool, { task: 'work' })
    expect(await settled).toMatchObject({ settlement: { kind: 'bury', reason: 'cancelled' } })
  })

  // Mutant: one look only: a job that was just being claimed runs on until the next rescue, 12 s later.
  test('reaches a job whose claim was under way', async () => {
    const handler = abortable()
    const task = numbered()
    const worker = await db.worker([task.handle(handler.run as never)])
    const settled = next(worker, 'job.settled')
    // The claim has locked its job and waits to learn whether its lease can be written. Its number goes on from all tests before.
    const client = await db.pool.connect()
    await client.query('begin')
    await client.query('insert into pgq.leases (worker_id, number) select $1, n from generate_series(1, 100000) as n', [
      worker.id,
    ])
    await task.enqueue(db.pool, 1)
    await db.blocked()
    expect(await cancelJobs(db.pool, { task: 'work' })).toBe(1)
    await until(() => db.value('select beat_at > requested_at from pgq.workers, pgq.cancellations'))
    await client.query('rollback')
    client.release()
    const asked = performance.now()
    expect(await settled).toMatchObject({ settlement: { kind: 'bury', reason: 'cancelled' } })
    expect(performance.now() - asked).toBeLessThan(5_000)
  })

  // Mutant: the first worker of all has nobody to rescue, and takes what there is.
  test('a job that its worker gave back before it heard of that does not run again', async () => {
    const ran: number[] = []
    const task = numbered()
    const { id } = await task.enqueue(db.pool, 1)
    await db.pool.query('insert into pgq.cancellations (job_id) values ($1)', [id])
    await db.worker([task.handle((n) => void ran.push(n))])
    await db.empty()
    expect(ran).toEqual([])
    expect(await deadReasons()).toEqual(['cancelled'])
  })
})

describe('a paused queue', () => {
  // Mutant: the claims of workers that run already go on.
  test.each(MODES)('%s: workers that run take nothing from it until it is resumed', async (mode) => {
    const ran: number[] = []
    const task = numbered('work', { mode, queue: 'mail' })
    const other = numbered('other', { mode })
    const worker = await db.worker([
      task.handle(((n: number) => void ran.push(n)) as never),
      other.handle((() => {}) as never),
    ])
    await task.enqueue(db.pool, 1)
    await next(worker, 'job.settled')
    await pauseQueue(db.pool, 'mail')
    await task.enqueueMany(db.pool, numbers(20, { priority: 5 }))
    const settled = next(worker, 'job.settled')
    await other.enqueue(db.pool, 1)
    expect(await settled).toMatchObject({ task: 'other' })
    expect(ran).toEqual([1])
    await resumeQueue(db.pool, 'mail')
    await db.empty()
    expect(ran).toHaveLength(21)
  })
})
