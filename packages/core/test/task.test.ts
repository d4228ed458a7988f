import { afterEach, describe, expect, test, vi } from 'vitest'
import { z } from 'zod'
import {
  cancel,
  claimAndDelete,
  defineTask,
  fail,
  handleAll,
  handlersByTask,
  InvalidArgsError,
  InvalidOptionError,
  type Job,
  resolveRetry,
  retryAfter,
  runHandler,
  snooze,
  Task,
  typed,
} from '../src/index.js'
import { claimRequest, counting, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const job = {} as Job
const failure = (promise: Promise<unknown>) => promise.then(() => undefined, (error) => error) // biome-ignore format: short
afterEach(() => void vi.restoreAllMocks())

describe('a task with a schema', () => {
  const order = defineTask('work', {
    args: z.object({ id: z.string().min(3), lines: z.array(z.object({ price: z.number() })) }),
  })

  test('refuses args that do not fit, with their paths, before anything is written', async () => {
    const executor = counting(pool)
    const error = await failure(order.enqueue(executor, { id: 'x', lines: [{ price: 1 }, { price: '2' as never }] }))
    expect(error).toBeInstanceOf(InvalidArgsError)
    expect(error).toMatchObject({
      code: 'PGQ_INVALID_ARGS',
      task: 'work',
      issues: [{ path: 'args.id' }, { path: 'args.lines[1].price' }],
    })
    expect(error.message).toMatch(/task "work".*args\.id: .*args\.lines\[1\]\.price: /)
    const many = [{ args: { id: 'fine', lines: [] } }, { args: {} as never }]
    expect(await failure(order.enqueueMany(executor, many))).toBeInstanceOf(InvalidArgsError)
    expect(executor.statements).toBe(0)
  })

  test('stores what was passed, and hands what the schema makes of it to the handler', async () => {
    const transforming = defineTask('work', {
      args: z.object({ at: z.iso.datetime().transform((text) => new Date(text)), count: z.number().default(5) }),
    })
    await transforming.enqueue(pool, { at: '2030-01-02T03:04:05Z' })
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: { at: '2030-01-02T03:04:05Z' } }])
    const [claimed] = await claimAndDelete(pool, 'pgq', claimRequest(await newWorker(pool)))
    const run = vi.fn()
    expect(await runHandler(transforming.handle(run), claimed!.args, job)).toEqual({ type: 'success' })
    expect(run).toHaveBeenCalledWith({ at: new Date('2030-01-02T03:04:05Z'), count: 5 }, job)
  })

  test('may be asynchronous, both ways', async () => {
    const known = defineTask('work', { args: z.string().refine(async (id) => id === 'known', 'is unknown') })
    await known.enqueue(pool, 'known')
    expect(await failure(known.enqueue(pool, 'other'))).toMatchObject({
      issues: [{ path: 'args', message: 'is unknown' }],
    })
    expect(await runHandler(known.handle(() => {}), 'known', job)).toEqual({ type: 'success' }) // biome-ignore format: short
    const outcome = await runHandler(known.handle(() => {}), 'other', job) // biome-ignore format: short
    expect(outcome).toMatchObject({ type: 'fail', error: { code: 'PGQ_INVALID_ARGS' } })
    expect(await database.rows('select args from pgq.jobs')).toHaveLength(1)
  })

  test('names the path also where a schema gives its parts as objects, or no path at all', async () => {
    const issues = [{ message: 'odd', path: [{ key: 'lines' }, { key: 0 }, 'price'] }, { message: 'whole' }]
    const strict = defineTask('work', {
      args: { '~standard': { version: 1, vendor: 'test', validate: () => ({ issues }) } },
    })
    expect(await failure(strict.enqueue(pool, {}))).toMatchObject({
      issues: [
        { path: 'args.lines[0].price', message: 'odd' },
        { path: 'args', message: 'whole' },
      ],
    })
  })

  test('typed() checks nothing', async () => {
    await defineTask('work', { args: typed<{ id: number }>() }).enqueue(pool, 'anything' as never)
    expect(await database.rows('select args from pgq.jobs')).toEqual([{ args: 'anything' }])
  })
})

describe('defineTask', () => {
  test('has defaults', () => {
    expect(defineTask('work')).toMatchObject({
      name: 'work',
      mode: 'at-least-once',
      queue: 'default',
      priority: 0,
      retry: undefined,
      timeoutMs: undefined,
      maxArgsBytes: 262_144,
      schema: 'pgq',
    })
    expect(defineTask('work')).toBeInstanceOf(Task)
  })

  test('an undefined in retry means the default', () => {
    const { retry } = defineTask('work', { retry: { maxAttempts: undefined, factor: 3 } as object })
    expect(resolveRetry(retry)).toMatchObject({ maxAttempts: 20, factor: 3 })
  })

  const invalid: [name: string, options: object, message: string][] = [
    ['', {}, 'The task name "" is not allowed'],
    ['a\0', {}, 'The task name'],
    ['x'.repeat(201), {}, '1 to 200 characters'],
    ['work', { queue: '' }, 'The queue name ""'],
    ['work', { priority: 0.5 }, 'task "work": priority is 0.5'],
    ['work', { mode: 'sometimes' }, `mode "sometimes" is unknown: use 'at-least-once'`],
    ['work', { mode: 'at-most-once', retry: {} }, 'an at-most-once task never runs twice'],
    ['work', { retry: { maxAttempts: 0 } }, 'task "work": retry.maxAttempts is 0'],
    ['work', { retry: 5 }, 'retry is 5; use an object'],
    ['work', { retry: { backoff: 5 } }, 'retry.backoff must be a function'],
    ['work', { args: { orderId: 'number' } }, 'args is an object; give a schema'],
    ['work', { args: null }, 'args is null; give a schema'],
    ['work', { timeoutMs: 0 }, 'timeoutMs is 0; use a whole number over 0'],
    ['work', { timeoutMs: 2 ** 31 }, 'timeoutMs'],
    ['work', { timeoutMs: 1.5 }, 'timeoutMs'],
    ['work', { maxArgsBytes: -1 }, 'maxArgsBytes is -1'],
    ['work', { schema: 'Public' }, 'schema "Public" is not allowed'],
    [
      'work',
      { timeout: 5 },
      'task "work": unknown option timeout; did you mean timeoutMs? The options are args, mode,',
    ],
    ['work', { retry: { attempts: 5 } }, 'task "work": retry: unknown option attempts; did you mean maxAttempts?'],
    ['work', { '': 5 }, 'task "work": unknown option . The options are args, mode,'],
  ]
  test.each(invalid)('%o with %o is refused', (name, options, message) => {
    const define = () => defineTask(name, options)
    expect(define).toThrow(InvalidOptionError)
    expect(define).toThrow(message)
  })

  test.each([
    [undefined, 'undefined'],
    ['x', 'x'],
    [[], 'a list'],
  ])('handle(%o) is refused', (run, said) => {
    const handle = () => defineTask('work').handle(run as never)
    expect(handle).toThrow(InvalidOptionError)
    expect(handle).toThrow(`The handler of task "work" is ${said}; give a function of (args, job).`)
  })
})

describe('handlersByTask', () => {
  const task = defineTask('work')
  const handler = task.handle(() => {})

  test('has each handler under the name of its task', () => {
    expect([...handlersByTask([handler])]).toEqual([['work', handler]])
  })

  test.each([
    [undefined, 'handlers must be a list: [task.handle(...), ...]; this is undefined.'],
    [{ work: handler }, 'this is an object.'],
    [[handler, task], 'handlers[1] is the task "work" without its handler; give what task.handle(...) answers.'],
    [[[handler]], 'handlers[0] is a list'],
    [[() => {}], 'handlers[0] is a function'],
    [[null], 'handlers[0] is null'],
    [[{ task }], 'handlers[0] is an object'],
    [[handler, handler], 'There are two handlers for task "work": keep one.'],
  ])('refuses %o', (handlers, message) => {
    const use = () => handlersByTask(handlers as never)
    expect(use).toThrow(InvalidOptionError)
    expect(use).toThrow(message)
  })
})

test('handleAll refuses what is no task, and a handler that is missing', () => {
  const all = handleAll as any
  expect(() => all({ charge: 'charge' }, { charge() {} })).toThrow(
    'handleAll: charge is charge; give what defineTask(...) answers.',
  )
  expect(() => all({ charge: defineTask('charge') }, undefined)).toThrow('The handler of task "charge" is undefined')
})

test('handleAll binds each handler to the task of its key', async () => {
  const tasks = { mail: defineTask<string>('send mail'), charge: defineTask<number>('charge') }
  const ran: unknown[] = []
  const handlers = handleAll(tasks, { charge: (args) => ran.push(args + 1), mail: (args) => ran.push(args.trim()) })
  expect(handlers.map(({ task }) => task)).toEqual([tasks.mail, tasks.charge])
  await runHandler(handlers[0]!, ' x ', job)
  await runHandler(handlers[1]!, 5, job)
  expect(ran).toEqual(['x', 6])
})

describe('runHandler turns whatever happens into an outcome', () => {
  const task = defineTask<any>('work')
  const error = new Error('no')
  const noNumber = (message: string) => ({
    type: 'error',
    error: expect.objectContaining({ code: 'PGQ_INVALID_OPTION', message: expect.stringContaining(message) }),
  })
  const table: [what: string, run: () => unknown, outcome: object][] = [
    ['a value', () => ({ type: 'fail' }), { type: 'success' }],
    ['nothing', () => {}, { type: 'success' }],
    ['a throw', () => { throw error }, { type: 'error', error }], // biome-ignore format: short
    ['a throw of undefined', () => { throw undefined }, { type: 'error', error: undefined }], // biome-ignore format: short
    ['a rejection', () => Promise.reject(error), { type: 'error', error }],
    ['retryAfter', () => retryAfter(5, error), { type: 'retry', afterMs: 5, error }],
    ['a promise of snooze', async () => snooze(7), { type: 'snooze', delayMs: 7 }],
    ['cancel thrown', () => { throw cancel('because') }, { type: 'cancel', reason: 'because' }], // biome-ignore format: short
    ['fail thrown', async () => { throw fail(error) }, { type: 'fail', error }], // biome-ignore format: short
    // Mutant: clamped to 0: of a header that is no number a job would run again at once, and a snooze for ever.
    ['retryAfter of NaN', () => retryAfter(Number.NaN), noNumber('retryAfter: the delay is NaN')],
    ['snooze of a text', () => snooze('5m' as never), noNumber('snooze: the delay is "5m"')],
    ['snooze of -5', () => snooze(-5), { type: 'snooze', delayMs: 0 }],
    ['snooze for ever', () => snooze(Number.POSITIVE_INFINITY), { type: 'snooze', delayMs: 315_576_000_000 }],
  ]
  test.each(table)('%s', async (_, run, outcome) => {
    expect(await runHandler(task.handle(run), {}, job)).toEqual(outcome)
  })
})
