import { defineTask, handleAll, type Job, type LostLeaseError, type Outcome, type Settlement, typed } from '@pgq/core'
import type { Transaction } from 'kysely'
import pino from 'pino'
import { expectTypeOf, test } from 'vitest'
import { type Around, createWorker, type JobLabel, type Logger, type Worker, type WorkerEvents } from '../src/index.js'

const mail = defineTask('mail', { args: typed<{ to: string }>() })
const count = defineTask('count', { mode: 'at-most-once', args: typed<number>() })
const charge = defineTask('charge', { mode: 'transactional', args: typed<{ cents: number }>() })
const tasks = { mail, count, charge }
const handlers = [mail.handle(() => {})]
declare const worker: Worker

test('handlers are complete per task: handleAll does not compile with one too few, too many, or of another type', () => {
  createWorker({
    handlers: handleAll(tasks, {
      mail: ({ to }, job) => {
        expectTypeOf(to).toEqualTypeOf<string>()
        expectTypeOf(job.finish).toBeFunction()
      },
      count: (n) => expectTypeOf(n).toEqualTypeOf<number>(),
      charge: (_, { trx }) => {
        expectTypeOf(trx).toEqualTypeOf<Transaction<any>>()
        return trx.insertInto('charges').values({ cents: 1 }).execute()
      },
    }),
  })
  // @ts-expect-error charge is missing
  handleAll(tasks, { mail: () => {}, count: () => {} })
  // @ts-expect-error there is no such task
  handleAll({ mail }, { mail: () => {}, other: () => {} })
  // @ts-expect-error the args are a number
  handleAll({ count }, { count: (n: string) => n })
  // @ts-expect-error an at-most-once job cannot be finished
  handleAll({ count }, { count: (_, job) => job.finish })
})

test('a handler belongs to its task: a bare function is none', () => {
  // @ts-expect-error not made by task.handle
  createWorker({ handlers: [() => {}] })
  // @ts-expect-error none at all
  createWorker({ connectionString: 'postgres://' })
})

test('options', () => {
  createWorker({ handlers, connectionString: process.env.DATABASE_URL, queues: ['a'], concurrency: 5 })
  createWorker({ handlers, connection: { host: '/run', ssl: true }, concurrency: { transactional: 5 } })
  // @ts-expect-error there is no such mode
  createWorker({ handlers, concurrency: { sometimes: 5 } })
  // @ts-expect-error a list
  createWorker({ handlers, queues: 'a' })
  // @ts-expect-error misspelt
  createWorker({ handlers, pollms: 5 })
  expectTypeOf(createWorker({ handlers })).toEqualTypeOf<Worker>()
})

test('loggers: pino, the console, and anything with the four functions', () => {
  createWorker({ handlers, logger: pino() })
  createWorker({ handlers, logger: console })
  expectTypeOf<pino.Logger>().toExtend<Logger>()
  // @ts-expect-error without warn
  createWorker({ handlers, logger: { debug() {}, info() {}, error() {} } })
})

test('around gets the job and answers an outcome', () => {
  createWorker({
    handlers,
    around: async (job, next) => {
      expectTypeOf(job).toEqualTypeOf<Job>()
      expectTypeOf(next()).resolves.toEqualTypeOf<Outcome>()
      return next()
    },
  })
  expectTypeOf<Around>().returns.resolves.toEqualTypeOf<Outcome>()
  // @ts-expect-error forgets to return it
  createWorker({ handlers, around: async (_, next) => void (await next()) })
})

test('events are typed by their names; on() answers how to stop', () => {
  expectTypeOf(worker.on('worker.started', () => {})).toEqualTypeOf<() => void>()
  worker.on('job.settled', (event) => {
    expectTypeOf(event).toExtend<JobLabel>()
    expectTypeOf(event.outcome).toEqualTypeOf<Outcome>()
    expectTypeOf(event.settlement).toEqualTypeOf<Settlement>()
    expectTypeOf(event.waitMs).toBeNumber()
    // @ts-expect-error args are in no event
    event.args
    // @ts-expect-error for reading
    event.attempt = 1
  })
  worker.on('job.lost', ({ error }) => expectTypeOf(error).toEqualTypeOf<LostLeaseError>())
  worker.on('jobs.claimed', async ({ mode }) =>
    expectTypeOf(mode).toEqualTypeOf<'at-least-once' | 'at-most-once' | 'transactional'>(),
  )
  // @ts-expect-error there is no such event
  worker.on('job.finished', () => {})
  expectTypeOf<keyof WorkerEvents>().toExtend<string>()
})

test('a worker is started and stopped', () => {
  expectTypeOf(worker.start()).resolves.toBeVoid()
  expectTypeOf(worker.stop()).resolves.toBeVoid()
  expectTypeOf(worker.id).toBeNumber()
  // @ts-expect-error for reading
  worker.id = 5
})
