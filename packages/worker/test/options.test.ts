import { defineTask, type Handler, InvalidOptionError, typed } from '@pgq/core'
import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { createWorker, type WorkerOptions } from '../src/index.js'
import { resolveOptions } from '../src/options.js'

const connectionString = 'postgres://localhost/nowhere'
const handler = defineTask('work', { args: typed<number>() }).handle(() => {})
const resolve = (options: Partial<WorkerOptions> = {}) =>
  resolveOptions({ connectionString, handlers: [handler], ...options })

test.each([
  ['pool', { pool: {} }],
  ['a pool as connection', { connection: new pg.Pool() }],
])('%s is refused: a worker opens connections of its own', (_, options) => {
  expect(() => createWorker({ handlers: [handler], ...(options as object) })).toThrow('opens connections of its own')
})

describe('defaults', () => {
  test('are what the documentation says', () => {
    expect(resolve()).toMatchObject({
      schema: 'pgq',
      queues: ['default'],
      concurrency: { 'at-least-once': 10, 'at-most-once': 10, transactional: 10 },
      transactionalGroup: 1,
      graceMs: 20_000,
      doorbell: true,
      pollMs: 5_000,
      deafPollMs: 1_000,
      leaseMs: 30_000,
      maxCrashes: 3,
      maxBatch: 1_000,
      maxBatchBytes: 8 * 1024 * 1024,
      stats: true,
      handleSignals: true,
      around: undefined,
    })
    expect(resolve({ doorbell: false }).deafPollMs).toBe(1_000)
    expect(resolve({ doorbell: false, pollMs: 50 }).deafPollMs).toBe(50)
  })

  test('an option that is undefined is one that was left out', () => {
    const names = Object.keys(OUT_OF_RANGE).concat(
      'doorbell',
      'stats',
      'handleSignals',
      'logger',
      'around',
      'schema',
      'queues',
    )
    const undefineds = Object.fromEntries(names.map((name) => [name, undefined])) as Partial<WorkerOptions>
    const { handlers: _, ...defaults } = resolve()
    expect(resolve(undefineds)).toMatchObject(defaults)
  })

  // Mutant: maxBatch alone: a claim of so many args, which compress well in the database, ends the process.
  test('a claim takes no more jobs than Node can hold the args of', () => {
    const small = defineTask('small', { maxArgsBytes: 1_000 }).handle(() => {})
    const large = defineTask('large', { maxArgsBytes: 2_000_000 }).handle(() => {})
    const huge = defineTask('huge', { maxArgsBytes: 600_000_000 }).handle(() => {})
    const most = (handlers: Handler[]) => resolve({ handlers, maxBatch: 10_000 }).maxBatch
    expect(most([small])).toBe(10_000)
    expect(most([handler])).toBe(1_907)
    expect(most([large, small])).toBe(250)
    expect(most([huge])).toBe(1)
    expect(resolve({ handlers: [large] }).maxBatch).toBe(250)
  })

  test('queues are those of the tasks, each once', () => {
    const tasks = ['mail', 'images', 'mail'].map((queue, n) => defineTask(`t${n}`, { queue }).handle(() => {}))
    expect(resolve({ handlers: tasks }).queues).toEqual(['mail', 'images'])
    expect(resolve({ handlers: tasks, queues: ['urgent', 'urgent', 'mail'] }).queues).toEqual(['urgent', 'mail'])
  })

  test('modes are those of the tasks; concurrency by mode falls back to the default', () => {
    const once = defineTask('once', { mode: 'at-most-once', args: typed<number>() }).handle(() => {})
    const options = resolve({ handlers: [handler, once], concurrency: { 'at-most-once': 3 } })
    expect(options.modes).toEqual(['at-least-once', 'at-most-once'])
    expect(options.concurrency).toEqual({ 'at-least-once': 10, 'at-most-once': 3, transactional: 10 })
    expect(resolve({ concurrency: null as never }).concurrency.transactional).toBe(10)
    expect(resolve({ concurrency: 4 }).concurrency).toEqual({
      'at-least-once': 4,
      'at-most-once': 4,
      transactional: 4,
    })
  })

  test('connection is passed on as it is, connectionString as the one option of it', () => {
    const connection = { host: '/run/postgres', ssl: false }
    expect(resolveOptions({ connection, handlers: [handler] }).connection).toBe(connection)
    expect(resolve().connection).toEqual({ connectionString })
  })

  test('the answer is frozen', () => {
    expect(Object.isFrozen(resolve())).toBe(true)
  })
})

/** The numbers: the smallest and the largest that are taken. */
const OUT_OF_RANGE: Partial<Record<keyof WorkerOptions, [number, number]>> = {
  concurrency: [1, 10_000],
  transactionalGroup: [1, 1_000],
  graceMs: [0, 86_400_000],
  pollMs: [10, 3_600_000],
  leaseMs: [1_000, 86_400_000],
  maxBlockedMs: [0, 86_400_000],
  maxCrashes: [3, 32_767],
  maxBatch: [1, 10_000],
  maxBatchBytes: [1_024, 1_073_741_824],
}

describe('a bad value is refused by createWorker, naming the option and what to use', () => {
  test.each(Object.entries(OUT_OF_RANGE))('%s', (name, [min, max]) => {
    for (const fits of [min, max]) expect(() => resolve({ [name]: fits })).not.toThrow()
    for (const bad of [min - 1, max + 1, min + 0.5, Number.NaN, Number.POSITIVE_INFINITY, '7', true]) {
      const create = () => createWorker({ connectionString, handlers: [handler], [name]: bad as number })
      expect(create).toThrow(InvalidOptionError)
      expect(create).toThrow(
        `${name} is ${typeof bad === 'string' ? JSON.stringify(bad) : bad}; use a whole number from ${min} to ${max}.`,
      )
    }
  })

  const once = defineTask('once', { queue: 'q', mode: 'at-most-once', args: typed<number>() }).handle(() => {})
  const elsewhere = defineTask('there', { schema: 'other', args: typed<number>() }).handle(() => {})
  const bad: [string, object, RegExp][] = [
    ['no handlers', { handlers: [] }, /handlers is empty: give at least one task\.handle/],
    ['handlers left out', { handlers: undefined }, /handlers must be a list: \[task\.handle/],
    ['a task for a handler', { handlers: [once.task] }, /handlers\[0\] is the task "once" without its handler/],
    ['two handlers for a task', { handlers: [handler, once, handler] }, /two handlers for task "work": keep one/],
    ['a task of another schema', { handlers: [elsewhere] }, /"there" is defined in schema "other".* serves "pgq"/],
    ['a schema with quotes', { schema: 'a"b' }, /schema "a\\"b" is not allowed: use 1 to 48 lower-case letters/],
    ['a schema that is too long', { schema: 's'.repeat(49) }, /is not allowed: use 1 to 48/],
    ['no queues', { queues: [] }, /queues is empty: name at least one queue, or leave it out/],
    ['an empty queue name', { queues: ['ok', ''] }, /queue name "" is not allowed: use a text of 1 to 200/],
    ['a queue name of 201 characters', { queues: ['q'.repeat(201)] }, /is not allowed: use a text of 1 to 200/],
    ['a queue name with NUL', { queues: ['a\0b'] }, /queue name "a\\u0000b" is not allowed/],
    ['a queue name with half a character', { queues: ['a\ud800'] }, /is not allowed/],
    ['one queue as a text', { queues: 'mail' }, /queues must be a list of names/],
    ['no database', { connectionString: undefined }, /needs a database: give connectionString \(postgres:/],
    ['an empty connectionString', { connectionString: '' }, /needs a database/],
    ['two databases', { connection: { host: 'x' } }, /connectionString or connection, not both/],
    [
      'a mode that there is not',
      { concurrency: { transactionl: 5 } },
      /concurrency\.transactionl: there is no such mode/,
    ],
    ['a concurrency of a mode', { concurrency: { transactional: 0 } }, /concurrency is 0; use a whole number from 1/],
    ['doorbell from the environment', { doorbell: 'false' }, /doorbell is "false"; use true or false/],
    ['stats', { stats: 'on' }, /stats is "on"; use true or false/],
    ['handleSignals', { handleSignals: 1 }, /handleSignals is 1; use true or false/],
    [
      'a logger without warn',
      { logger: { info() {}, debug() {}, error() {} } },
      /logger must have the functions debug, info/,
    ],
    ['no logger', { logger: null }, /logger must have the functions/],
    ['around', { around: {} }, /around must be a function/],
    ['a misspelt name', { concurency: 5 }, /createWorker: unknown option concurency; did you mean concurrency\?/],
  ]
  test('no options at all', () => {
    expect(() => createWorker(undefined as never)).toThrow(InvalidOptionError)
  })

  test.each(bad)('%s', (_, options, message) => {
    const create = () => createWorker({ connectionString, handlers: [handler], ...options } as WorkerOptions)
    expect(create).toThrow(InvalidOptionError)
    expect(create).toThrow(message)
    expect(create).toThrow(expect.objectContaining({ code: 'PGQ_INVALID_OPTION' }))
  })
})
