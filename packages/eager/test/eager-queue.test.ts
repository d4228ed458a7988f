import {
  cancel,
  defineTask,
  enqueue,
  enqueueMany,
  fail,
  InvalidOptionError,
  snooze,
  typed,
  UnknownTaskError,
} from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { type EagerQueueOptions, eagerQueue } from '../src/index.js'

const work = defineTask('work', { args: typed<number>() })

/** A queue of the task "work", and what its handler saw. */
function queueOf(handler: (n: number) => unknown = () => {}, options: Partial<EagerQueueOptions> = {}) {
  const seen: number[] = []
  const run = (n: number) => {
    seen.push(n)
    return handler(n)
  }
  return { queue: eagerQueue({ handlers: [work.handle(run)], ...options }), seen }
}
const boom = () => {
  throw new Error('boom')
}

describe('inline', () => {
  test('a job has run when its enqueue resolves', async () => {
    const { queue, seen } = queueOf(() => new Promise((resolve) => setImmediate(resolve)))
    expect(await work.enqueue(queue, 1)).toEqual({ status: 'inserted', id: '1' })
    expect(seen).toEqual([1])
    expect(queue.jobs).toMatchObject([{ id: '1', task: 'work', args: 1, state: 'completed', attempts: 1, errors: [] }])
  })

  test('all jobs of a bulk have run when it resolves, by priority', async () => {
    const { queue, seen } = queueOf()
    const results = await work.enqueueMany(queue, [{ args: 1 }, { args: 2, priority: 5 }, { args: 3 }])
    expect(results.map(({ id }) => id)).toEqual(['1', '2', '3'])
    expect(seen).toEqual([2, 1, 3])
  })

  test('by name it works the same', async () => {
    const { queue, seen } = queueOf()
    await enqueue(queue, 'work', 1)
    await enqueueMany(queue, 'work', [{ args: 2 }, { args: 3 }])
    expect(seen).toEqual([1, 2, 3])
  })

  test('calls at the same time: each resolves after its own job, and no two handlers run at once', async () => {
    let running = 0
    const { queue, seen } = queueOf(async () => {
      expect(++running).toBe(1)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
    })
    const resolved: number[] = []
    const calls = [1, 2, 3].map((n) => work.enqueue(queue, n).then(() => resolved.push(n)))
    await Promise.all(calls)
    expect(seen).toEqual([1, 2, 3])
    expect(resolved).toEqual([1, 2, 3])
  })

  // Mutant: jobs of handlers run where they are enqueued: a handler would wait for its child, and see its effects too early.
  test('jobs that a handler enqueues run after it, and before the first enqueue resolves', async () => {
    const order: string[] = []
    const child = defineTask('child', { args: typed<number>() })
    const parent = defineTask('parent', { args: typed<number>() })
    const queue = eagerQueue({
      handlers: [
        child.handle(async (depth) => {
          order.push(`child ${depth}`)
          if (depth < 3) await child.enqueue(queue, depth + 1)
          order.push(`end ${depth}`)
        }),
        parent.handle(async () => {
          await child.enqueue(queue, 1)
          await child.enqueueMany(queue, [{ args: 3 }])
          order.push('parent ends')
        }),
      ],
    })
    await parent.enqueue(queue, 0)
    expect(order).toEqual(
      ['parent ends', 'child 1', 'end 1', 'child 3', 'end 3', 'child 2', 'end 2', 'child 3', 'end 3'].map(String),
    )
    expect(queue.jobs.every(({ state }) => state === 'completed')).toBe(true)
  })

  test('what a handler starts and leaves behind may still enqueue when the queue is at rest: that call runs its job', async () => {
    let later: Promise<unknown> | undefined
    const { queue, seen } = queueOf((n) => {
      if (n === 1) later = new Promise((resolve) => setTimeout(resolve, 5)).then(() => work.enqueue(queue, 2))
    })
    await work.enqueue(queue, 1)
    await later
    expect(seen).toEqual([1, 2])
  })

  test('a task without a handler is refused, and the whole bulk with it', async () => {
    const { queue, seen } = queueOf()
    await expect(enqueue(queue, 'stranger')).rejects.toThrow(
      'There is no handler for task "stranger". Add task.handle(...) to handlers.',
    )
    await expect(enqueue(queue, 'stranger')).rejects.toBeInstanceOf(UnknownTaskError)
    expect(queue.jobs).toEqual([])
    await work.enqueue(queue, 1)
    expect(seen).toEqual([1])
  })
})

describe('manual', () => {
  test('nothing runs before drain()', async () => {
    const { queue, seen } = queueOf(undefined, { mode: 'manual' })
    await work.enqueueMany(queue, [{ args: 1 }, { args: 2, priority: 1 }, { args: 3, delayMs: 60_000 }])
    expect(seen).toEqual([])
    expect(queue.jobs.map(({ state }) => state)).toEqual(['waiting', 'waiting', 'scheduled'])
    expect(await queue.drain()).toBe(3)
    expect(seen).toEqual([2, 1, 3])
    expect(await queue.drain()).toBe(0)
  })

  test('drain({ maxJobs }) ends after so many runs', async () => {
    const { queue, seen } = queueOf(undefined, { mode: 'manual' })
    await work.enqueueMany(
      queue,
      [1, 2, 3].map((args) => ({ args })),
    )
    expect(await queue.drain({ maxJobs: 0 })).toBe(0)
    expect(await queue.drain({ maxJobs: 2 })).toBe(2)
    expect(seen).toEqual([1, 2])
  })

  test('a task without a handler is found by drain(), after everything else has run', async () => {
    const { queue, seen } = queueOf(undefined, { mode: 'manual' })
    await enqueue(queue, 'stranger', { any: 'args' })
    await work.enqueue(queue, 1)
    await expect(queue.drain()).rejects.toThrow('There is no handler for task "stranger"')
    expect(seen).toEqual([1])
    expect(queue.enqueued('stranger')).toMatchObject([{ state: 'waiting', attempts: 0, args: { any: 'args' } }])
  })

  test('jobs that bring themselves back for ever end in an error that says so', async () => {
    const { queue } = queueOf(async (n) => void (await work.enqueue(queue, n)), { mode: 'manual' })
    await work.enqueue(queue, 1)
    await expect(queue.drain()).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringContaining('100000 runs and no end: a job brings itself back for ever'),
    })
  }, 60_000)
})

describe('queues', () => {
  const image = defineTask('image', { queue: 'images', args: typed<number>() })
  const queueFor = (options: Partial<EagerQueueOptions> = {}) =>
    eagerQueue({ handlers: [image.handle(() => {}), work.handle(() => {})], ...options })

  // Mutant: every queue is served: the job that waits for ever in production has run in the test.
  test("those of the handlers' tasks are served, and a job on another is refused, the whole bulk with it", async () => {
    const queue = queueFor()
    await image.enqueue(queue, 1)
    await work.enqueue(queue, 1, { queue: 'images' })
    await expect(image.enqueueMany(queue, [{ args: 2 }, { args: 3, queue: 'imagse' }])).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringMatching(
        /task "image" is on queue "imagse", which is not served.*Here: images, default\.$/,
      ),
    })
    expect(queue.jobs.map(({ args, state }) => [args, state])).toEqual([
      [1, 'completed'],
      [1, 'completed'],
    ])
  })

  test('manual: drain() finds it, after everything else has run', async () => {
    const queue = queueFor({ mode: 'manual' })
    await image.enqueue(queue, 1, { queue: 'imagse' })
    await image.enqueue(queue, 2)
    await expect(queue.drain()).rejects.toThrow('is on queue "imagse", which is not served')
    expect(queue.jobs.map(({ state }) => state)).toEqual(['waiting', 'completed'])
  })

  test('the option queues says which instead', async () => {
    const queue = queueFor({ queues: ['urgent'] })
    await image.enqueue(queue, 1, { queue: 'urgent' })
    await expect(image.enqueue(queue, 2)).rejects.toThrow('is on queue "images", which is not served')
  })

  test.each([{ queues: [] }, { queues: 'images' }, { queues: [''] }])('%j is refused', (options) => {
    expect(() => queueFor(options as object)).toThrow(InvalidOptionError)
  })

  test('handlers of two schemas are refused, as no worker takes them', () => {
    const elsewhere = defineTask('elsewhere', { schema: 'other' })
    expect(() => queueFor({ handlers: [work.handle(() => {}), elsewhere.handle(() => {})] })).toThrow(
      /Task "elsewhere" is defined in schema "other", task "work" in "pgq": give each schema an eager queue/,
    )
  })
})

describe('the schema', () => {
  const here = defineTask('work', { args: typed<number>(), schema: 'shop' })

  // Mutant: the schema of an enqueue is not looked at: what no worker would find in production runs here.
  test.each(['inline', 'manual'] as const)('%s: jobs of another schema are refused', async (mode) => {
    const queue = eagerQueue({ handlers: [here.handle(() => {})], mode })
    await expect(enqueue(queue, 'work', 1)).rejects.toThrow(
      /^A job of task "work" would be enqueued in schema "pgq", and the handlers here are of schema "shop": .* \{ schema: "shop" \}/,
    )
    await expect(enqueueMany(queue, 'work', [{ args: 1 }], { schema: 'other' })).rejects.toThrow(InvalidOptionError)
    await expect(work.enqueue(queue, 1)).rejects.toThrow(InvalidOptionError)
    await expect(work.schedule(queue, 1, { cron: '0 3 * * *' })).rejects.toThrow(InvalidOptionError)
    expect(queue.jobs).toEqual([])
    expect(queue.schedules).toEqual([])
  })

  test('jobs of its own are taken, whoever enqueues them', async () => {
    const queue = eagerQueue({ handlers: [here.handle(() => {})] })
    await enqueue(queue, 'work', 1, { schema: 'shop' })
    await here.enqueue(queue, 2)
    expect(queue.jobs).toMatchObject([{ state: 'completed' }, { state: 'completed' }])
  })
})

describe('errors', () => {
  // Mutant: onError 'record' as the default: a test would pass over a handler that fails.
  test('throw: the enqueue rejects with the very thing that the handler threw', async () => {
    const thrown = new RangeError('boom')
    const { queue } = queueOf(() => {
      throw thrown
    })
    await expect(work.enqueue(queue, 1)).rejects.toBe(thrown)
    expect(queue.jobs).toMatchObject([{ state: 'scheduled', attempts: 1, errors: [{ name: 'RangeError' }] }])
  })

  test('throw: also undefined', async () => {
    const { queue } = queueOf(() => Promise.reject(undefined))
    await expect(work.enqueue(queue, 1)).rejects.toBeUndefined()
  })

  test('throw: jobs behind the one that failed wait for the next call', async () => {
    const { queue, seen } = queueOf((n) => n === 1 && boom())
    await expect(work.enqueueMany(queue, [{ args: 1 }, { args: 2 }])).rejects.toThrow('boom')
    expect(seen).toEqual([1])
    await work.enqueue(queue, 3)
    expect(seen).toEqual([1, 2, 3])
  })

  test('record: the enqueue resolves, drain() goes on with the retries until the job is dead', async () => {
    const { queue, seen } = queueOf(boom, { onError: 'record' })
    await work.enqueue(queue, 7, { retry: { maxAttempts: 3 } })
    expect(queue.jobs[0]).toMatchObject({ state: 'scheduled', attempts: 1, errors: [{ attempt: 1, message: 'boom' }] })
    expect(await queue.drain()).toBe(2)
    expect(seen).toEqual([7, 7, 7])
    expect(queue.jobs[0]).toMatchObject({ state: 'dead', reason: 'exhausted', attempts: 3 })
    expect(queue.jobs[0]!.errors.map(({ attempt }) => attempt)).toEqual([1, 2, 3])
    expect(await queue.drain()).toBe(0)
  })

  // Mutant: undefined overrides the task's policy, and no attempt is the last one.
  test('what a job leaves undefined of its retry policy is that of its task', async () => {
    const twice = defineTask('twice', { retry: { maxAttempts: 2 } })
    const queue = eagerQueue({ handlers: [twice.handle(boom)], onError: 'record' })
    await twice.enqueue(queue, {}, { retry: { maxAttempts: undefined, factor: 3 } as object })
    expect(await queue.drain({ maxJobs: 5 })).toBe(1)
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'exhausted', attempts: 2 }])
  })

  test('in drain() and advance() they are thrown, too, and the job keeps its retry', async () => {
    let fails = 2
    const { queue, seen } = queueOf(() => fails-- > 0 && boom(), { mode: 'manual' })
    await work.enqueue(queue, 1)
    await expect(queue.drain()).rejects.toThrow('boom')
    await expect(queue.advance(3_600_000)).rejects.toThrow('boom')
    expect(await queue.drain()).toBe(1)
    expect(seen).toEqual([1, 1, 1])
    expect(queue.jobs[0]).toMatchObject({ state: 'completed', attempts: 3 })
  })

  test('args that the schema refuses: the enqueue rejects, nothing is enqueued', async () => {
    const even = defineTask('even', {
      args: {
        '~standard': {
          version: 1,
          vendor: 'test',
          validate: (n) => (Number(n) % 2 ? { issues: [{ message: 'odd' }] } : { value: Number(n) }),
        },
      },
    })
    const queue = eagerQueue({ handlers: [even.handle(() => {})] })
    await expect(even.enqueue(queue, 3)).rejects.toMatchObject({ code: 'PGQ_INVALID_ARGS' })
    expect(queue.jobs).toEqual([])
    // Past the producer's check, as from SQL or an older release.
    await expect(enqueue(queue, 'even', 3)).rejects.toMatchObject({ code: 'PGQ_INVALID_ARGS' })
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'failed', args: 3 }])
  })

  test('args that JSON would change: the enqueue rejects', async () => {
    const { queue } = queueOf()
    await expect(enqueue(queue, 'work', { at: new Date() })).rejects.toThrow('args.at is a Date')
    expect(queue.jobs).toEqual([])
  })
})

describe('what it refuses, and says why', () => {
  const refusal = (message: RegExp) =>
    expect.objectContaining({ code: 'PGQ_INVALID_OPTION', message: expect.stringMatching(message) })

  test('two handlers for one task', () => {
    const twice = () => eagerQueue({ handlers: [work.handle(() => {}), work.handle(() => {})] })
    expect(twice).toThrow(refusal(/two handlers for task "work": keep one/))
  })

  test('an option that there is not', () => {
    const misspelt = () => eagerQueue({ handlers: [], onErorr: 'record' } as object as EagerQueueOptions)
    expect(misspelt).toThrow(refusal(/eagerQueue: unknown option onErorr; did you mean onError\?/))
  })

  test('options that cannot be', () => {
    const make = (options?: object) => () => eagerQueue(options as EagerQueueOptions)
    expect(make()).toThrow(refusal(/eagerQueue: the options are undefined/))
    expect(make({})).toThrow(refusal(/handlers must be a list/))
    expect(make({ handlers: [work] })).toThrow(refusal(/the task "work" without its handler/))
    expect(make({ handlers: [], mode: 'x' })).toThrow(refusal(/mode is "x"; use inline or manual/))
    expect(make({ handlers: [], now: new Date(Number.NaN) })).toThrow(refusal(/now is Invalid Date; use a valid Date/))
    expect(make({ handlers: [], now: 5 })).toThrow(refusal(/now is 5; use a valid Date/))
    expect(make({ handlers: [], onError: 'x' })).toThrow(refusal(/onError is "x"; use throw or record/))
  })

  test('SQL', () => {
    const { queue } = queueOf()
    expect(() => queue.query('select 1', [])).toThrow(refusal(/runs no SQL.*Asked for: select 1/))
  })

  // Mutant: a handler that awaits drain(): the queue waits for itself, for ever.
  test.each(['drain', 'advance'] as const)('%s() inside a handler', async (what) => {
    const { queue } = queueOf(() => queue[what](1 as never))
    await expect(work.enqueue(queue, 1)).rejects.toThrow(refusal(/inside a handler would wait for itself/))
  })

  // Mutant: a clock at an invalid Date, from where nothing is ever due.
  test.each([-1, Number.NaN, undefined, Number.POSITIVE_INFINITY, 8.64e15])('advance(%s)', async (ms) => {
    await expect(queueOf().queue.advance(ms as number)).rejects.toBeInstanceOf(InvalidOptionError)
  })
})

describe('the job in the handler', () => {
  // Mutants: a throw after finish() that is told to nobody; one attempt's finish() that counts for the next; a snooze of a finished job.
  test('at-least-once: finish(trx) completes it; a throw after it is a failed attempt, as the transaction is rolled back then', async () => {
    const { queue, seen } = finishing((attempt) => attempt === 1 && boom())
    await work.enqueue(queue, 1)
    expect(queue.jobs).toMatchObject([{ state: 'scheduled', errors: [{ attempt: 1, message: 'boom' }] }])
    expect(await queue.drain()).toBe(1)
    expect(seen).toEqual([1, 2])
    expect(queue.jobs).toMatchObject([{ state: 'completed', reason: null }])
  })

  test.each([snooze(1_000), cancel('no'), fail('no')])(
    'a decision after finish(trx) changes nothing: %j',
    async (decision) => {
      const { queue, seen } = finishing(() => decision, 'throw')
      await work.enqueue(queue, 1)
      expect(await queue.drain()).toBe(0)
      expect(seen).toEqual([1])
      expect(queue.jobs).toMatchObject([{ state: 'completed', reason: null, errors: [] }])
    },
  )

  test("one attempt's finish(trx) is not the next one's", async () => {
    const handler = work.handle(async (_, job) => {
      if (job.attempt === 1) await job.finish(queue).then(boom)
      return job.attempt === 2 ? cancel('no') : undefined
    })
    const queue = eagerQueue({ onError: 'record', handlers: [handler] })
    await work.enqueue(queue, 1)
    await queue.drain()
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'cancelled', attempts: 2 }])
  })

  /** A queue whose handler finishes its job, and then does what is given. */
  function finishing(then: (attempt: number) => unknown, onError: 'throw' | 'record' = 'record') {
    const seen: number[] = []
    const handler = work.handle(async (_, job) => {
      seen.push(job.attempt)
      await job.finish(queue)
      return then(job.attempt)
    })
    const queue = eagerQueue({ onError, handlers: [handler] })
    return { queue, seen }
  }

  // Mutant: whatever is given counts as a transaction.
  test.each([undefined, 'nonsense', {}])('finish(%j) is refused, and finishes nothing', async (trx) => {
    const queue = eagerQueue({ handlers: [work.handle((_, job) => job.finish(trx as never))] })
    await expect(work.enqueue(queue, 1)).rejects.toThrow(/given to job\.finish\(trx\) must be what runs the SQL/)
    expect(queue.jobs).toMatchObject([{ state: 'scheduled' }])
  })

  test('transactional without a transaction: job.trx says what to do, and a handler that needs none works', async () => {
    const needs = defineTask('needs', { mode: 'transactional', args: typed<number>() })
    const spares = defineTask('spares', { mode: 'transactional', args: typed<number>() })
    const queue = eagerQueue({ handlers: [needs.handle((_, { trx }) => trx), spares.handle(() => {})] })
    await expect(needs.enqueue(queue, 1)).rejects.toThrow(
      /open one of Kysely in the test and call queue\.attach\(trx\)/,
    )
    await spares.enqueue(queue, 1)
    expect(queue.jobs.at(-1)!.state).toBe('completed')
  })

  // Mutants: own properties for getters: what copies its job works in tests alone; meta that an attempt changes for the next.
  test.each(['at-least-once', 'at-most-once', 'transactional'] as const)(
    '%s: has what the worker gives, where it has it',
    async (mode) => {
      const seen: any[] = []
      const task = defineTask('task', { mode })
      const queue = eagerQueue({ handlers: [task.handle((_, job) => void seen.push(job))] })
      await task.enqueue(queue, {})
      const [job] = seen
      expect({ ...job }).toStrictEqual({
        ...{ id: '1', task: 'task', queue: 'default', priority: 0, attempt: 1, crashCount: 0, meta: {} },
        ...{ createdAt: queue.now, readyAt: queue.now },
      })
      expect(Object.isFrozen(job.meta)).toBe(true)
      expect([job.maxAttempts, job.signal.aborted]).toEqual([mode === 'at-most-once' ? 1 : 20, false])
      expect('trx' in job && 'finish' in job).toBe(true)
      if (mode !== 'transactional') expect(job.trx).toBeUndefined()
      expect(typeof job.finish).toBe(mode === 'at-least-once' ? 'function' : 'undefined')
    },
  )

  test('changing the args changes nothing for the next attempt, nor for the assertions', async () => {
    const seen: unknown[] = []
    const list = defineTask('list', { args: typed<{ items: number[] }>() })
    const queue = eagerQueue({
      onError: 'record',
      handlers: [
        list.handle((args, { attempt }) => {
          seen.push(structuredClone(args))
          args.items.push(9)
          if (attempt === 1) boom()
        }),
      ],
    })
    const given = { items: [1] }
    await list.enqueue(queue, given)
    given.items.push(2)
    await queue.drain()
    expect(seen).toEqual([{ items: [1] }, { items: [1] }])
    queue.assertEnqueued(list, { items: [1] })
  })
})

test('clear() forgets the jobs, also those that wait, and keeps the clock', async () => {
  const { queue, seen } = queueOf(undefined, { mode: 'manual' })
  await queue.advance(5_000)
  const { now } = queue
  await work.enqueueMany(queue, [{ args: 1 }, { args: 2, delayMs: 1 }])
  queue.clear()
  expect(queue.jobs).toEqual([])
  expect(await queue.drain()).toBe(0)
  expect(queue.now).toEqual(now)
  expect((await work.enqueue(queue, 3)).id).toBe('3')
  expect(seen).toEqual([])
})

test('two queues know nothing of each other', async () => {
  const [one, other] = [queueOf(), queueOf()]
  await work.enqueue(one.queue, 1)
  await work.enqueue(other.queue, 2)
  expect([one.seen, other.seen]).toEqual([[1], [2]])
})

test('a queue holds no process open', () => {
  const before = process.getActiveResourcesInfo().length
  queueOf().queue.jobs
  expect(process.getActiveResourcesInfo().length).toBe(before)
})
