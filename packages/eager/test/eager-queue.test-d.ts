import { defineTask, type Executor, typed } from '@pgq/core'
import { expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import { type EagerJob, type EagerJobState, type EagerQueue, eagerQueue, type Undo } from '../src/index.js'

const mail = defineTask('mail', { args: z.object({ to: z.string(), at: z.string().transform((at) => new Date(at)) }) })
const count = defineTask('count', { mode: 'at-most-once', args: typed<number>() })
const charge = defineTask('charge', { mode: 'transactional', args: typed<{ cents: number }>() })
declare const queue: EagerQueue

test('it takes the handlers of a worker, of every mode', () => {
  const handlers = [mail.handle(() => {}), count.handle(() => {}), charge.handle((_, { trx }) => trx)]
  expectTypeOf(eagerQueue({ handlers, mode: 'manual', onError: 'record', now: new Date() })).toEqualTypeOf<EagerQueue>()
  // @ts-expect-error no handlers
  eagerQueue({})
  // @ts-expect-error no such mode
  eagerQueue({ handlers, mode: 'later' })
  // @ts-expect-error no such choice
  eagerQueue({ handlers, onError: 'ignore' })
})

test('it goes where an executor goes', () => {
  expectTypeOf<EagerQueue>().toExtend<Executor>()
  mail.enqueue(queue, { to: 'ada', at: '2030-01-01' })
  // @ts-expect-error the args are checked as anywhere
  mail.enqueue(queue, { to: 5 })
})

test('jobs of a task have its args as the handler sees them, after the schema', () => {
  expectTypeOf(queue.enqueued(mail)).toEqualTypeOf<EagerJob<{ to: string; at: Date }>[]>()
  expectTypeOf(queue.assertEnqueued(count)).toEqualTypeOf<EagerJob<number>[]>()
  expectTypeOf(queue.enqueued('mail')).toEqualTypeOf<EagerJob[]>()
  expectTypeOf(queue.jobs).toEqualTypeOf<readonly EagerJob[]>()
  expectTypeOf<EagerJob['args']>().toEqualTypeOf<unknown>()
  expectTypeOf<EagerJobState>().toEqualTypeOf<'waiting' | 'scheduled' | 'running' | 'completed' | 'dead'>()
})

test('what is matched is a part of the args, or a function of them', () => {
  queue.enqueued(mail, { to: 'ada' })
  queue.enqueued(mail, { at: new Date() })
  queue.enqueued(mail, ({ at }) => at.getTime() > 0)
  queue.enqueued(count, 5)
  // @ts-expect-error not its args
  queue.enqueued(mail, { from: 'ada' })
  // @ts-expect-error not its type
  queue.assertEnqueued(mail, { to: 5 })
  // @ts-expect-error a part of a Date is none
  queue.enqueued(mail, { at: {} })
  // @ts-expect-error a function that answers nothing
  queue.enqueued(count, (_: number) => {})
})

test('the clock and the jobs are for reading; undo is a function and disposable', () => {
  // @ts-expect-error read only
  queue.now = new Date()
  // @ts-expect-error read only
  queue.jobs[0].state = 'dead'
  expectTypeOf(queue.intercept()).toEqualTypeOf<Undo>()
  expectTypeOf(queue.attach(queue)).toEqualTypeOf<Undo>()
  expectTypeOf<Undo>().toExtend<Disposable>()
  expectTypeOf(queue.drain()).resolves.toBeNumber()
  expectTypeOf(queue.advance(5)).resolves.toBeNumber()
  // @ts-expect-error transactions are for transactional handlers
  mail.handle((_, job) => job.trx)
})
