import { cancel, defineTask, enqueue, fail, retryAfter, snooze, typed } from '@pgq/core'
import { eagerQueue } from '@pgq/eager'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'

const greet = defineTask('greet', { args: z.object({ name: z.string(), at: z.coerce.date().optional() }) })
const flaky = defineTask('flaky', {
  args: typed<{ failures: number }>(),
  retry: { maxAttempts: 3, minDelayMs: 1_000, jitter: 0 },
})

describe('inline', () => {
  it('runs a job when it is enqueued, with the args after their way through JSON and the schema', async () => {
    const seen: unknown[] = []
    const queue = eagerQueue({ handlers: [greet.handle((args) => seen.push(args))] })
    const at = '2030-01-01T00:00:00.000Z'
    const result = await greet.enqueue(queue, { name: 'Ada', at })
    expect(seen).toEqual([{ name: 'Ada', at: new Date(at) }])
    expect(result).toEqual({ status: 'inserted', id: '1' })
    expect(queue.jobs).toMatchObject([{ state: 'completed', attempt: 1, args: { name: 'Ada', at } }])
  })

  it('refuses what enqueue refuses', async () => {
    const queue = eagerQueue({ handlers: [greet.handle(() => {})] })
    await expect(greet.enqueue(queue, { name: 1 as never })).rejects.toMatchObject({ code: 'PGQ_INVALID_ARGS' })
    await expect(enqueue(queue, 'greet', { name: undefined })).rejects.toMatchObject({ code: 'PGQ_NOT_SERIALISABLE' })
    await expect(enqueue(queue, 'nobody')).rejects.toMatchObject({ code: 'PGQ_UNKNOWN_TASK' })
    expect(queue.jobs).toEqual([])
  })

  it("throws the handler's own error, and keeps it with the job", async () => {
    const error = new Error('no')
    const queue = eagerQueue({
      handlers: [
        flaky.handle(() => {
          throw error
        }),
      ],
    })
    await expect(flaky.enqueue(queue, { failures: 1 })).rejects.toBe(error)
    expect(queue.jobs).toMatchObject([{ state: 'scheduled', attempt: 1, errors: [{ attempt: 1, message: 'no' }] }])
  })

  it('runs nothing else than enqueues', () => {
    const queue = eagerQueue({ handlers: [greet.handle(() => {})] })
    expect(() => queue.query('select 1', [])).toThrow(/no database/)
  })
})

describe('retries and delays', () => {
  const failing = (attempts: number[]) =>
    flaky.handle(({ failures }, job) => {
      attempts.push(job.attempt)
      if (job.attempt <= failures) throw new Error(`attempt ${job.attempt}`)
    })

  it('retries by the policy, on the clock of the queue', async () => {
    const attempts: number[] = []
    const queue = eagerQueue({ handlers: [failing(attempts)], onError: 'record', now: new Date(0) })
    await flaky.enqueue(queue, { failures: 2 })
    expect(attempts).toEqual([1])
    expect(await queue.advance(999)).toBe(0)
    expect(await queue.advance(1)).toBe(1)
    expect(await queue.drain()).toBe(1)
    expect(attempts).toEqual([1, 2, 3])
    expect(queue.now).toEqual(new Date(3_000))
    expect(queue.jobs[0]).toMatchObject({ state: 'completed', errors: [{ attempt: 1 }, { attempt: 2 }] })
  })

  it('buries a job that used up its attempts, with its history', async () => {
    const queue = eagerQueue({ handlers: [failing([])], onError: 'record' })
    await flaky.enqueue(queue, { failures: 9 })
    await queue.drain()
    expect(queue.jobs[0]).toMatchObject({ state: 'dead', reason: 'exhausted', attempt: 3, errors: [{}, {}, {}] })
  })

  it('leaves delayed jobs until their time', async () => {
    const ran: string[] = []
    const queue = eagerQueue({ handlers: [greet.handle(({ name }) => ran.push(name))], now: new Date(0) })
    await greet.enqueueMany(queue, [
      { args: { name: 'late' }, executeAt: new Date(5_000) },
      { args: { name: 'soon' }, delayMs: 1_000 },
      { args: { name: 'now' } },
    ])
    expect(ran).toEqual(['now'])
    await queue.advance(1_000)
    expect(ran).toEqual(['now', 'soon'])
    await queue.drain()
    expect(ran).toEqual(['now', 'soon', 'late'])
  })

  it('runs by priority, then in order, when it is drained', async () => {
    const ran: string[] = []
    const queue = eagerQueue({ mode: 'manual', handlers: [greet.handle(({ name }) => ran.push(name))] })
    await greet.enqueue(queue, { name: 'a' })
    await greet.enqueue(queue, { name: 'b' }, { priority: 5 })
    await greet.enqueue(queue, { name: 'c' })
    expect(ran).toEqual([])
    expect(await queue.drain()).toBe(3)
    expect(ran).toEqual(['b', 'a', 'c'])
  })

  it('stops a job that enqueues itself for ever', async () => {
    const queue = eagerQueue({
      mode: 'manual',
      handlers: [greet.handle((args) => greet.enqueue(queue, { name: args.name }))],
    })
    await greet.enqueue(queue, { name: 'again' })
    await expect(queue.drain({ maxRuns: 20 })).rejects.toThrow(/may enqueue itself/)
  })
})

describe('outcomes', () => {
  const outcome = (decide: (attempt: number) => unknown) => {
    const task = defineTask('decide')
    const queue = eagerQueue({
      handlers: [task.handle((_, job) => decide(job.attempt))],
      onError: 'record',
      now: new Date(0),
    })
    return { queue, run: () => task.enqueue(queue, null) }
  }

  it.each([
    ['cancel', () => cancel('not needed'), { state: 'dead', reason: 'cancelled', errors: [{ message: 'not needed' }] }],
    ['fail', () => fail(new Error('hopeless')), { state: 'dead', reason: 'failed', errors: [{ message: 'hopeless' }] }],
    ['snooze', () => snooze(60_000), { state: 'scheduled', attempt: 0, executeAt: new Date(60_000), errors: [] }],
    ['retryAfter', () => retryAfter(7_000), { state: 'scheduled', attempt: 1, executeAt: new Date(7_000) }],
  ])('%s, returned or thrown', async (_, decide, expected) => {
    const returned = outcome(decide)
    await returned.run()
    expect(returned.queue.jobs).toMatchObject([expected])
    const thrown = outcome(() => {
      throw decide()
    })
    await thrown.run()
    expect(thrown.queue.jobs).toMatchObject([expected])
  })

  it('never runs an at-most-once job twice', async () => {
    const once = defineTask('once', { mode: 'at-most-once', args: typed<null>() })
    const attempts: number[] = []
    const handler = once.handle((_, job) => {
      attempts.push(job.attempt)
      throw new Error('no')
    })
    const queue = eagerQueue({ handlers: [handler], onError: 'record' })
    await once.enqueue(queue, null)
    await queue.drain()
    expect(attempts).toEqual([1])
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'failed' }])
  })

  it('counts a run beyond timeoutMs as failed, and aborts its signal', async () => {
    const slow = defineTask('slow', { timeoutMs: 20, args: typed<null>(), retry: { maxAttempts: 1 } })
    let reason: unknown
    const handler = slow.handle(
      (_, job) =>
        new Promise((resolve) => job.signal.addEventListener('abort', () => resolve((reason = job.signal.reason)))),
    )
    const queue = eagerQueue({ handlers: [handler], onError: 'record' })
    await slow.enqueue(queue, null)
    expect(reason).toMatchObject({ code: 'PGQ_TIMEOUT' })
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'exhausted', errors: [{ name: 'TimeoutError' }] }])
  })

  it('keeps a job finished that finished itself', async () => {
    const handler = flaky.handle(async (_, job) => {
      await job.finish(queue)
      throw new Error('too late')
    })
    const queue = eagerQueue({ handlers: [handler] })
    await flaky.enqueue(queue, { failures: 0 })
    expect(queue.jobs).toMatchObject([{ state: 'completed', errors: [] }])
  })
})

describe('where jobs come from', () => {
  const client = { query: () => Promise.reject(new Error('no SQL may run')) }

  it("takes the jobs of a test's transaction, and hands it to transactional handlers", async () => {
    const charge = defineTask('charge', { mode: 'transactional', args: typed<null>() })
    let trx: unknown
    const queue = eagerQueue({ handlers: [charge.handle((_, job) => (trx = job.trx))] })
    await charge.enqueue(queue.attach({ ...client }), null)
    expect(trx).toMatchObject({ query: client.query })
  })

  it('takes all jobs of the process until it is told to stop', async () => {
    const queue = eagerQueue({ handlers: [greet.handle(() => {})] })
    const stop = queue.intercept()
    await greet.enqueue(client, { name: 'Ada' })
    stop()
    await expect(greet.enqueue(client, { name: 'Bob' })).rejects.toThrow('no SQL may run')
    expect(queue.enqueued(greet)).toHaveLength(1)
  })
})

describe('assertions', () => {
  it('finds jobs by task and a part of their args, and lists what there is', async () => {
    const queue = eagerQueue({ handlers: [greet.handle(() => {}), flaky.handle(() => {})] })
    await greet.enqueue(queue, { name: 'Ada' })
    await flaky.enqueue(queue, { failures: 0 })
    expect(queue.enqueued(greet, { name: 'Ada' })).toHaveLength(1)
    expect(queue.enqueued(greet, { name: 'Bob' })).toHaveLength(0)
    expect(queue.assertEnqueued(flaky).task).toBe('flaky')
    expect(() => queue.assertEnqueued(greet, { name: 'Bob' })).toThrow(
      /greet \{"name":"Bob"\}[\s\S]*greet \{"name":"Ada"\}/,
    )
    queue.clear()
    expect(() => queue.assertEnqueued(greet)).toThrow(/nothing/)
  })
})
