import { once } from 'node:events'
import { cancel, LostLeaseError, type Outcome, TimeoutError, WorkerStoppingError } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import type { Around } from '../src/index.js'
import { all, gate, MODES, next, numbered, numbers, queue, until } from './queue.js'

const db = await queue()
const again = { minDelayMs: 0, maxAttempts: 3 }

describe("the job's signal", () => {
  // Mutant: one AbortController for the worker, or for the lane.
  test('aborts at the timeout of its own task, with the reason, and nobody else’s', async () => {
    const hasty = numbered('hasty', { timeoutMs: 40, retry: { maxAttempts: 1 } })
    const patient = numbered('patient')
    const go = gate()
    const reasons: unknown[] = []
    const worker = await db.worker([
      hasty.handle(async (_, { signal }) => {
        await once(signal, 'abort')
        reasons.push(signal.reason)
        throw new Error('I was told to stop')
      }),
      patient.handle(async (_, { signal }) => {
        await go.opened
        reasons.push(signal.aborted)
      }),
    ])
    const settled = all(worker, 'job.settled')
    await patient.enqueue(db.pool, 1)
    const { id } = await hasty.enqueue(db.pool, 1)
    await until(() => settled.length === 1)
    go.open()
    await until(() => settled.length === 2)
    expect(reasons[0]).toBeInstanceOf(TimeoutError)
    expect(reasons[0]).toMatchObject({ code: 'PGQ_TIMEOUT', jobId: id, timeoutMs: 40 })
    expect(reasons[1]).toBe(false)
    // What the handler threw on its way out is not what went wrong.
    expect(settled[0]).toMatchObject({ task: 'hasty', outcome: { type: 'error', error: reasons[0] } })
  })

  test('a handler that succeeds although its time was over has succeeded', async () => {
    const task = numbered('work', { timeoutMs: 20 })
    const worker = await db.worker([task.handle((_, { signal }) => once(signal, 'abort'))])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    expect((await settled).outcome).toEqual({ type: 'success' })
  })

  test('who asks for it after the abort gets it aborted', async () => {
    const task = numbered('work', { timeoutMs: 20, retry: { maxAttempts: 1 } })
    const seen: unknown[] = []
    const worker = await db.worker([
      task.handle(async (_, job) => {
        await new Promise((resolve) => setTimeout(resolve, 60))
        const { signal } = job
        seen.push(signal.aborted, job.signal === signal)
        signal.throwIfAborted()
      }),
    ])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    expect((await settled).outcome).toMatchObject({ type: 'error', error: { code: 'PGQ_TIMEOUT' } })
    expect(seen).toEqual([true, true])
  })

  test('a handler that does not heed it is reported as stuck, settled without, and its slot is free', async () => {
    const task = numbered('work', { timeoutMs: 20, retry: { maxAttempts: 1 } })
    const quick = numbered('quick')
    const go = gate()
    const worker = await db.worker([task.handle(() => go.opened), quick.handle(() => {})], { concurrency: 1 })
    const stuck = next(worker, 'job.stuck')
    const settled = all(worker, 'job.settled')
    const { id } = await task.enqueue(db.pool, 1)
    await quick.enqueue(db.pool, 1)
    expect(await stuck).toEqual({
      jobId: id,
      task: 'work',
      queue: 'default',
      attempt: 1,
      mode: 'at-least-once',
      abortedForMs: 1_000,
    })
    await until(() => settled.length === 2)
    expect(settled.map((event) => [event.task, event.outcome.type])).toEqual([
      ['work', 'error'],
      ['quick', 'success'],
    ])
    go.open()
  })

  test('aborts when the lease is lost', async () => {
    const task = numbered('work')
    const reason = gate<unknown>()
    const worker = await db.worker(
      [
        task.handle(async (_, { signal }) => {
          await once(signal, 'abort')
          reason.open(signal.reason)
        }),
      ],
      { leaseMs: 1_000 },
    )
    const started = next(worker, 'job.started')
    const { id } = await task.enqueue(db.pool, 1)
    await started
    await db.pool.query('delete from pgq.leases; delete from pgq.workers')
    expect(await reason.opened).toBeInstanceOf(LostLeaseError)
    expect(await reason.opened).toMatchObject({ jobId: id })
  })

  test('aborts when the worker stops and the grace is over', async () => {
    const task = numbered('work')
    const reason = gate<unknown>()
    const worker = await db.worker(
      [
        task.handle(async (_, { signal }) => {
          await once(signal, 'abort')
          reason.open(signal.reason)
        }),
      ],
      { graceMs: 0 },
    )
    const started = next(worker, 'job.started')
    await task.enqueue(db.pool, 1)
    await started
    await worker.stop()
    expect(await reason.opened).toBeInstanceOf(WorkerStoppingError)
  })
})

describe('around', () => {
  const run = async (around: Around, handler: (n: number) => unknown = () => {}) => {
    const task = numbered('work', { retry: again })
    const worker = await db.worker([task.handle(handler)], { around })
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    return settled
  }

  test.each(MODES)('%s: wraps every run, with the job and the outcome', async (mode) => {
    const task = numbered('work', { mode })
    const seen: unknown[] = []
    const worker = await db.worker([task.handle(() => cancel('enough'))], {
      around: async (job, next) => {
        seen.push([job.id, job.task, job.attempt])
        const outcome = await next()
        seen.push(outcome)
        return outcome
      },
    })
    const settled = next(worker, 'job.settled')
    const { id } = await task.enqueue(db.pool, 1)
    expect((await settled).settlement).toMatchObject({ kind: 'bury', reason: 'cancelled' })
    expect(seen).toEqual([[id, 'work', 1], { type: 'cancel', reason: 'enough' }])
  })

  test('its context is the handler’s: what it sets up around next() is there', async () => {
    const { AsyncLocalStorage } = await import('node:async_hooks')
    const storage = new AsyncLocalStorage<string>()
    const seen: unknown[] = []
    await run(
      (job, next) => storage.run(`span of ${job.id}`, next),
      () => seen.push(storage.getStore()),
    )
    expect(seen).toEqual(['span of 1'])
  })

  test('its answer counts: it may change the outcome, or not call the handler at all', async () => {
    const runs: number[] = []
    const refuse: Around = async () => ({ type: 'cancel', reason: 'not on Sundays' })
    const settled = await run(refuse, (n) => runs.push(n))
    expect(settled.settlement).toMatchObject({ kind: 'bury', reason: 'cancelled' })
    expect(runs).toEqual([])
  })

  // Mutant: around called without a catch: an error in it ends the process, or leaves the job held for ever.
  test.each([
    [
      'throws',
      () => {
        throw new Error('in around')
      },
      'in around',
    ],
    ['rejects', async () => Promise.reject(new Error('in around')), 'in around'],
    [
      'answers nothing',
      (async (_: unknown, next: () => unknown) => void (await next())) as unknown as Around,
      'around answered no outcome: let it return what next() answers.',
    ],
    [
      'answers something else',
      (async () => ({ type: 'done' })) as unknown as Around,
      'around answered no outcome: let it return what next() answers.',
    ],
    // Mutant: what cannot be made sense of ends the process.
    [
      'answers half an outcome',
      (async () => ({ type: 'retry', afterMs: Symbol('soon') })) as unknown as Around,
      'Cannot convert a Symbol value to a number',
    ],
  ] as [string, Around, string][])('that %s: the run failed, and is tried again', async (_, around, message) => {
    const { outcome, settlement } = await run(around)
    expect(outcome).toMatchObject({ type: 'error', error: { message } })
    expect(settlement).toMatchObject({ kind: 'requeue', attempt: 1 })
  })

  test('next() never rejects: what the handler throws is an outcome', async () => {
    const outcomes: Outcome[] = []
    const around: Around = async (_, next) => {
      const outcome = await next()
      outcomes.push(outcome)
      return outcome
    }
    await run(around, () => Promise.reject(new RangeError('too far')))
    expect(outcomes[0]).toMatchObject({ type: 'error', error: { name: 'RangeError' } })
  })
})

test('a job sees its attempts and its own limit of them', async () => {
  const task = numbered('work', { retry: again })
  const seen: string[] = []
  const worker = await db.worker([
    task.handle((n, { attempt, maxAttempts, priority }) => {
      seen.push(`${n}: ${attempt}/${maxAttempts} at ${priority}`)
      throw new Error('no')
    }),
  ])
  const settled = all(worker, 'job.settled')
  await task.enqueueMany(db.pool, numbers(1, { priority: -3, retry: { maxAttempts: 2 } }))
  await until(() => settled.length === 2)
  expect(seen).toEqual(['0: 1/2 at -3', '0: 2/2 at -3'])
  expect(settled.map(({ settlement }) => settlement.kind)).toEqual(['requeue', 'bury'])
})
