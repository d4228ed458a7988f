import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Kysely, Transaction } from 'kysely'
import { describe, expectTypeOf, test } from 'vitest'
import { z } from 'zod'
import {
  defineTask,
  type EnqueueResult,
  type Executor,
  enqueue,
  enqueueMany,
  handleAll,
  type Json,
  type JsonValue,
  type LeasedJob,
  typed,
} from '../src/index.js'

declare const db: Kysely<{ users: { id: number } }>
const parsed = defineTask('parsed', { args: z.object({ at: z.string().transform((text) => new Date(text)) }) })
const plain = defineTask<{ orderId: string }>('plain')
const once = defineTask('once', { mode: 'at-most-once', args: typed<number>() })
const transactional = defineTask('transactional', { mode: 'transactional', args: typed<number>() })

describe('args', () => {
  test('come from the schema: its input at enqueue, its output in the handler', () => {
    expectTypeOf(parsed.enqueue).parameter(1).toEqualTypeOf<{ at: string }>()
    parsed.handle((args) => expectTypeOf(args).toEqualTypeOf<{ at: Date }>())
    // @ts-expect-error the wrong type
    parsed.enqueue(db, { at: 5 })
    // @ts-expect-error a missing key
    parsed.enqueueMany(db, [{ args: {} }])
  })

  test('come from a plain type', () => {
    expectTypeOf(plain.enqueue).parameter(1).toEqualTypeOf<{ orderId: string }>()
    plain.handle((args) => expectTypeOf(args).toEqualTypeOf<{ orderId: string }>())
    once.handle((args) => expectTypeOf(args).toEqualTypeOf<number>())
    // @ts-expect-error the wrong type
    plain.enqueue(db, { orderId: 5 })
    // @ts-expect-error none
    plain.enqueue(db)
  })

  test('are any JSON without either', () => {
    expectTypeOf(defineTask('any').enqueue).parameter(1).toEqualTypeOf<JsonValue>()
    // Mutant: without the overload for a mode alone, only the default mode could do without args.
    const moved = defineTask('moved', { mode: 'transactional', queue: 'money' })
    expectTypeOf(moved.enqueue).parameter(1).toEqualTypeOf<JsonValue>()
    moved.handle((args, { trx }) => [expectTypeOf(args).toEqualTypeOf<JsonValue>(), trx.selectFrom('users')])
    // @ts-expect-error a Date is none
    defineTask('any').enqueue(db, { at: new Date() })
  })

  test('are what the compiler points at, or the option that is wrong', () => {
    // Mutant: overloads; the complaint is about the last of them, on the line of the args.
    defineTask('mail', {
      args: z.object({ to: z.string() }),
      // @ts-expect-error no such option
      retries: 3,
    })
    defineTask('mail', {
      args: z.object({ to: z.string() }),
      // @ts-expect-error no such mode
      mode: 'exactly-once',
    })
  })
})

// Mutant: without the constraints of defineTask and typed, they are refused when they are enqueued, and not before.
describe('args that JSON would change do not compile', () => {
  test('of a type', () => {
    // @ts-expect-error a Date becomes a string
    typed<{ at: Date }>()
    // @ts-expect-error deep inside
    typed<{ lines: readonly { at?: Date }[] }>()
    // @ts-expect-error one of two
    typed<{ at: string | Date }>()
    // @ts-expect-error the whole of it
    typed<Date>()
    // @ts-expect-error JSON has no map
    typed<{ of: Map<string, number> }>()
    // @ts-expect-error nor a set
    typed<{ of: Set<string> }>()
    // @ts-expect-error nor a number of such a size
    typed<{ of: bigint }>()
    // @ts-expect-error nor code
    typed<{ of: () => void }>()
    // @ts-expect-error nor an object of a class
    typed<{ of: URL }>()
    // @ts-expect-error nor bytes
    typed<{ of: Uint8Array }>()
    // @ts-expect-error without a schema, too
    defineTask<{ at: Date }>('late')
  })

  test('of a schema, by what goes into it', () => {
    // @ts-expect-error a Date goes in
    defineTask('late', { args: z.object({ at: z.date() }) })
    // @ts-expect-error deep inside
    defineTask('late', { args: z.object({ lines: z.array(z.object({ at: z.date().optional() })) }) })
    // A text goes in, a Date comes out.
    const late = defineTask('late', { args: z.object({ at: z.iso.datetime().transform((text) => new Date(text)) }) })
    late.handle(({ at }) => expectTypeOf(at).toEqualTypeOf<Date>())
    defineTask('late', { args: z.object({ at: z.coerce.date() }) })
  })
})

describe('args that JSON carries do compile', () => {
  interface Line {
    readonly sku: string
    readonly price?: number
    readonly state: 'new' | 'used' | null
  }
  interface Order {
    id: number & { readonly brand: 'id' }
    lines: readonly Line[]
    bySku: Record<string, Line>
    pair: [number, string?]
    note?: string | undefined
    rest: JsonValue
    parent?: Order
    children: Order[]
  }

  test('interfaces, with keys that may be missing, and interfaces in themselves', () => {
    const order = defineTask('order', { args: typed<Order>() })
    expectTypeOf(order.enqueue).parameter(1).toEqualTypeOf<Order>()
    order.handle((args) => expectTypeOf(args).toEqualTypeOf<Order>())
  })

  test('unions, lists, texts alone, and no args', () => {
    expectTypeOf(typed<{ kind: 'a'; size: number } | { kind: 'b' }>()).not.toBeAny()
    expectTypeOf(typed<Line[]>()).not.toBeAny()
    expectTypeOf(typed<string>()).not.toBeAny()
    expectTypeOf(typed<null>()).not.toBeAny()
    expectTypeOf(typed<JsonValue>()).not.toBeAny()
  })

  test('what only the run time knows', () => {
    typed<{ payload: unknown; more: any; rest: Record<string, unknown> }>()
    typed<any>()
    defineTask('open', { args: z.looseObject({ payload: z.unknown(), json: z.json() }) })
  })

  test('types that generic code does not know yet', () => {
    const ours = <Input extends Json<Input>, Output>(name: string, args: StandardSchemaV1<Input, Output>) =>
      defineTask(`ours-${name}`, { args, queue: 'ours' })
    const task = ours('task', z.object({ size: z.string().transform(Number) }))
    expectTypeOf(task.enqueue).parameter(1).toEqualTypeOf<{ size: string }>()
    task.handle((args) => expectTypeOf(args).toEqualTypeOf<{ size: number }>())
  })
})

describe('at-most-once', () => {
  test('takes no retry, neither in its definition nor in a call', () => {
    // @ts-expect-error it never runs twice
    defineTask('once', { mode: 'at-most-once', args: typed<number>(), retry: { maxAttempts: 3 } })
    // @ts-expect-error it never runs twice
    defineTask('once', { mode: 'at-most-once', retry: { maxAttempts: 3 } })
    // @ts-expect-error it never runs twice
    once.enqueue(db, 1, { retry: { maxAttempts: 3 } })
    // @ts-expect-error it never runs twice
    once.enqueueMany(db, [{ args: 1, retry: { maxAttempts: 3 } }])
    defineTask('again', { mode: 'transactional', args: typed<number>(), retry: { maxAttempts: 3 } })
    plain.enqueue(db, { orderId: '1' }, { retry: { maxAttempts: 3 } })
  })

  test('a job carries no backoff function', () => {
    // @ts-expect-error code belongs to the task
    plain.enqueue(db, { orderId: '1' }, { retry: { backoff: () => 1 } })
    defineTask<string>('own', { retry: { backoff: (attempt) => attempt * 10 } })
  })
})

describe('what a job can do depends on its mode', () => {
  test('finish in at-least-once only', () => {
    plain.handle((_, job) => {
      expectTypeOf(job).toEqualTypeOf<LeasedJob>()
      expectTypeOf(job.finish).parameter(0).toEqualTypeOf<Executor>()
    })
    // @ts-expect-error an at-most-once job is gone already
    once.handle((_, job) => job.finish(db))
    // @ts-expect-error the worker's commit finishes it
    transactional.handle((_, job) => job.finish(db))
  })

  test('trx in transactional only, typed on request', () => {
    transactional.handle<{ users: { id: number } }>((_, job) => {
      expectTypeOf(job.trx).toEqualTypeOf<Transaction<{ users: { id: number } }>>()
    })
    // @ts-expect-error there is no transaction
    plain.handle((_, job) => job.trx)
    // @ts-expect-error there is no transaction
    once.handle((_, job) => job.trx)
  })

  test('all jobs have these, for reading', () => {
    once.handle((_, job) => {
      expectTypeOf(job.id).toEqualTypeOf<string>()
      expectTypeOf(job.signal).toEqualTypeOf<AbortSignal>()
      expectTypeOf(job.readyAt).toEqualTypeOf<Date>()
      // @ts-expect-error read only
      job.attempt = 1
    })
  })
})

test('handleAll wants one handler for each task, with its args', () => {
  const tasks = { parsed, plain, once }
  handleAll(tasks, {
    parsed: (args) => expectTypeOf(args).toEqualTypeOf<{ at: Date }>(),
    plain: async (args, job) => {
      expectTypeOf(args).toEqualTypeOf<{ orderId: string }>()
      await job.finish(db)
    },
    once: (args) => expectTypeOf(args).toEqualTypeOf<number>(),
  })
  // @ts-expect-error once is missing
  handleAll(tasks, { parsed: () => {}, plain: () => {} })
  // @ts-expect-error no such task
  handleAll({ plain }, { plain: () => {}, other: () => {} })
})

test('an enqueue answers a result, never null', () => {
  expectTypeOf(plain.enqueue(db, { orderId: '1' })).resolves.toEqualTypeOf<EnqueueResult>()
  expectTypeOf(enqueue(db, 'plain')).resolves.toEqualTypeOf<EnqueueResult>()
  expectTypeOf(enqueueMany(db, 'plain', [])).resolves.toEqualTypeOf<EnqueueResult[]>()
  expectTypeOf<null>().not.toExtend<EnqueueResult>()
  expectTypeOf<EnqueueResult['id']>().toEqualTypeOf<string>()
})

test('an executor is Kysely, its transactions, pg, an adapter, or anything with query', () => {
  expectTypeOf<Kysely<{ anything: { a: 1 } }>>().toExtend<Executor>()
  expectTypeOf<Transaction<{ anything: { a: 1 } }>>().toExtend<Executor>()
  expectTypeOf<import('pg').Pool>().toExtend<Executor>()
  expectTypeOf<import('pg').Client>().toExtend<Executor>()
  expectTypeOf<import('pg').PoolClient>().toExtend<Executor>()
  expectTypeOf<{ query(sql: string, params: unknown[]): Promise<{ rows: object[] }> }>().toExtend<Executor>()
  expectTypeOf<string>().not.toExtend<Executor>()
})

test('a schedule has the args of its task, and a cron expression or an interval', () => {
  expectTypeOf(plain.schedule(db, { orderId: '1' }, { cron: '0 3 * * *', timeZone: 'UTC' })).resolves.toEqualTypeOf<{
    readonly status: 'created' | 'changed' | 'unchanged'
    readonly name: string
    readonly nextAt: Date
  }>()
  plain.schedule(db, { orderId: '1' }, { everyMs: 1_000, name: 'often', catchUp: 'all', retry: { maxAttempts: 1 } })
  // @ts-expect-error other args
  plain.schedule(db, { orderId: 1 }, { everyMs: 1_000 })
  // @ts-expect-error neither
  plain.schedule(db, { orderId: '1' }, { name: 'never' })
  // @ts-expect-error both
  plain.schedule(db, { orderId: '1' }, { cron: '* * * * *', everyMs: 1_000 })
  // @ts-expect-error an interval needs no time zone
  plain.schedule(db, { orderId: '1' }, { everyMs: 1_000, timeZone: 'UTC' })
  // @ts-expect-error an at-most-once job is not tried again
  once.schedule(db, 1, { everyMs: 1_000, retry: { maxAttempts: 1 } })
})
