import { cancel, defineTask, fail } from '@pgq/core'
import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, schemaOf, taskOf } from './recorder.js'

export function failureBehaviour({ mode, open }: Harness): void {
  /** Runs one job with this handler to its end; answers what is left of it. */
  const leftAfter = async (handler: () => unknown, timeoutMs?: number) => {
    const recorder = new Recorder()
    const task = taskOf('ending', mode, {
      ...(mode !== 'at-most-once' && { retry: { maxAttempts: 1 } }),
      ...(timeoutMs && { timeoutMs }),
    })
    await using delivery = await open({ handlers: [recorder.handler(task, handler)] })
    await task.enqueue(delivery.target, {})
    await delivery.settled(1)
    expect(recorder.attempts).toEqual([1])
    return delivery.unfinished()
  }
  const lastReason = mode === 'at-most-once' ? 'failed' : 'exhausted'

  it('an error is kept with its name, message and stack', async () => {
    const [job] = await leftAfter(() => {
      throw new RangeError('too far')
    })
    expect(job).toMatchObject({ state: 'dead', reason: lastReason, attempts: 1 })
    expect(job!.errors).toMatchObject([{ attempt: 1, name: 'RangeError', message: 'too far' }])
    expect(job!.errors[0]!.stack).toContain('RangeError: too far')
    expect(new Date(job!.errors[0]!.at).toISOString()).toBe(job!.errors[0]!.at)
  })

  // Mutant: the args that its schema refuses are told from those that the handler enqueues by the error's code alone.
  it('args that the handler enqueues, and a schema refuses, are an error like any other', async () => {
    const args = schemaOf(() => {
      throw new Error('refused')
    })
    const strict = defineTask('strict', { args })
    // By another name: the harness of the eager queue takes the original for a job that no handler got.
    const rename = (error: Error) => Promise.reject(Object.assign(error, { name: 'Inner' }))
    const [job] = await leftAfter(() => strict.enqueue({ query: async () => [] }, 1).catch(rename))
    expect(job).toMatchObject({ state: 'dead', reason: lastReason, errors: [{ name: 'Inner' }] })
  })

  const odd: [string, unknown, string][] = [
    ['undefined', undefined, 'undefined'],
    ['null', null, 'null'],
    ['a string', 'just text', 'just text'],
    ['a number', 42, '42'],
    ['an object without a prototype', Object.create(null), 'a value that cannot be shown as text'],
    ['a symbol', Symbol('odd'), 'Symbol(odd)'],
    ['an error with a NUL and half a character', new Error('a\0b\ud800'), 'a�b�'],
  ]
  it.each(odd)('%s may be thrown', async (_, thrown, message) => {
    const [job] = await leftAfter(() => {
      throw thrown
    })
    expect(job).toMatchObject({ state: 'dead', reason: lastReason, errors: [{ name: 'Error', message }] })
  })

  it('a returned value that is no decision means success', async () => {
    expect(await leftAfter(() => new Error('returned, not thrown'))).toEqual([])
  })

  it.each([
    ['returned', () => cancel('no longer wanted')],
    [
      'thrown',
      () => {
        throw cancel('no longer wanted')
      },
    ],
  ])('cancel, %s, ends the job on purpose', async (_, handler) => {
    const [job] = await leftAfter(handler)
    expect(job).toMatchObject({ state: 'dead', reason: 'cancelled' })
    expect(job!.errors).toMatchObject([{ name: 'Cancelled', message: 'no longer wanted' }])
  })

  // From JavaScript. Mutant: it throws while the end of the job is decided: the job runs for ever.
  it('cancel with what makes no text ends the job, too', async () => {
    const [job] = await leftAfter(() => cancel(Object.create(null)))
    expect(job).toMatchObject({ state: 'dead', reason: 'cancelled' })
  })

  it('fail ends the job for good', async () => {
    const [job] = await leftAfter(() => fail(new TypeError('never works')))
    expect(job).toMatchObject({ state: 'dead', reason: 'failed', errors: [{ name: 'TypeError' }] })
  })

  it('a timeout aborts the signal, and the run counts as failed', async () => {
    let reason: unknown
    const recorder = new Recorder()
    const task = taskOf('slow', mode, {
      timeoutMs: 30,
      ...(mode !== 'at-most-once' && { retry: { maxAttempts: 1 } }),
    })
    const handler = recorder.handler(task, async (_, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve))
      reason = signal.reason
      signal.throwIfAborted()
    })
    await using delivery = await open({ handlers: [handler] })
    const { id } = await task.enqueue(delivery.target, {})
    await delivery.settled(1)
    expect(reason).toMatchObject({ code: 'PGQ_TIMEOUT', jobId: id, timeoutMs: 30 })
    const [job] = await delivery.unfinished()
    expect(job).toMatchObject({ state: 'dead', reason: lastReason, errors: [{ name: 'TimeoutError' }] })
  })

  it('a handler that does not heed its timeout is settled without it', async () => {
    const [job] = await leftAfter(() => new Promise(() => {}), 20)
    expect(job).toMatchObject({ state: 'dead', reason: lastReason, errors: [{ name: 'TimeoutError' }] })
  })
}
