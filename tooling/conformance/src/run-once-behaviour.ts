import { retryAfter, snooze } from '@pgq/core'
import { expect, it } from 'vitest'
import type { Harness } from './harness.js'
import { Recorder, taskOf } from './recorder.js'

/** Of a mode that cannot retry: whatever a handler asks for, the job never runs twice, and its end is on record. */
export function runOnceBehaviour({ mode, open }: Harness): void {
  it.each([
    [
      'an error',
      () => {
        throw new Error('once')
      },
      'once',
    ],
    ['retryAfter', () => retryAfter(0, new Error('again')), 'again'],
    ['snooze', () => snooze(0), 'The handler asked for a snooze, but an at-most-once job runs only once.'],
  ])('%s is recorded and the job does not run again', async (_, handler, message) => {
    const recorder = new Recorder()
    const task = taskOf('once', mode)
    const next = taskOf('next', mode)
    await using delivery = await open({ handlers: [recorder.handler(task, handler), recorder.handler(next)] })
    await task.enqueue(delivery.target, 'once')
    await delivery.settled(1)
    await next.enqueue(delivery.target, 'next')
    await delivery.settled(2)
    expect(recorder.args).toEqual(['once', 'next'])
    expect(await delivery.unfinished()).toMatchObject([
      { state: 'dead', reason: 'failed', attempts: 1, errors: [{ attempt: 1, message }] },
    ])
  })
}
