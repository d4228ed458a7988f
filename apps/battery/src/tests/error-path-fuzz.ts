import { inspect, types } from 'node:util'
import { defineTask, type Job, typed } from '@pgq/core'
import fc from 'fast-check'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { ownWorker } from '../own-worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'

/** Handlers throw every kind of thing. Each failure is recorded, no job is lost or left behind, and the worker lives. */
export const errorPathFuzz: BatteryTest = {
  number: 32,
  name: 'error-path-fuzz',
  mutants: [
    {
      name: 'half characters in error texts are sent as they are',
      patches: [
        {
          file: 'packages/core/src/encode-args.ts',
          find: `.replaceAll('\\0', '\\uFFFD').toWellFormed()`,
          replace: `.replaceAll('\\0', '\\uFFFD')`,
        },
      ],
    },
    {
      name: 'what a thrown value says of itself is taken without care',
      patches: [
        {
          file: 'packages/core/src/settlement.ts',
          find: '(isError(error) ? readThrown(error, key) : undefined)',
          replace: '(error instanceof Error ? error[key] : undefined)',
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const stray: unknown[] = []
    const hear = (reason: unknown) => void stray.push(reason)
    process.on('unhandledRejection', hear).on('uncaughtException', hear)
    context.onEnd(() => process.off('unhandledRejection', hear).off('uncaughtException', hear))
    const random = fc.sample(fc.anything(ODD), {
      seed: context.random.between(0, 2 ** 31),
      numRuns: context.long ? 20_000 : 200,
    })
    const thrown = [...HOSTILE.map((make) => make()), ...random]
    for (const mode of ['at-least-once', 'transactional', 'at-most-once'] as const) {
      await throwAll(context, queue, mode, thrown)
    }
    expectNone(stray.map((reason) => `It escaped from the worker: ${inspect(reason)}.`))
    return `${HOSTILE.length} hostile and ${random.length} random values thrown in three modes: each recorded, no job lost, nothing escaped`
  },
}

async function throwAll(
  context: TestContext,
  queue: TestQueue,
  mode: 'at-least-once' | 'transactional' | 'at-most-once',
  thrown: readonly unknown[],
): Promise<void> {
  const retry = mode === 'at-most-once' ? {} : { retry: { maxAttempts: 2, minDelayMs: 0, backoff: careless } }
  const task = defineTask(`throws-${mode}`, { mode, args: typed<{ n: number }>(), ...retry } as never)
  const fail = ({ n }: { n: number }, job: Job) => {
    // As an answer that is no decision it means success; as a rejection it must fail the job, too.
    if (n % 3 === 0) return Promise.reject(thrown[n])
    if (job.attempt > 0) throw thrown[n]
  }
  const unsettled: unknown[] = []
  const worker = await ownWorker(context, queue, [task.handle(fail as never)], { concurrency: 20, stats: false })
  worker.on('job.unsettled', ({ error }) => unsettled.push(error))
  worker.on('job.settled', ({ outcome }) => void String(inspect(outcome, { getters: false })).length)
  await task.enqueueMany(
    queue.pool,
    thrown.map((_, n) => ({ args: { n } }) as never),
  )
  const buried = () => queue.value<number>('select count(*)::integer from pgq.dead_jobs where task = $1', [task.name])
  await until('every job is dead', async () => (await buried()) === thrown.length, 20_000, 25).catch(() => {})
  const dead = await queue.rows(DEAD, [task.name])
  const attempts = mode === 'at-most-once' ? 1 : 2
  const found = new Map(dead.map((row) => [row.n, row]))
  expectNone([
    unsettled.length > 0 && `${mode}: ${unsettled.length} jobs were not settled: ${inspect(unsettled[0])}.`,
    ...thrown.map((value, n) => {
      const row = found.get(n)
      if (!row) return `${mode}: the job that threw ${describe(value)} was lost or left.`
      if (row.errors !== attempts)
        return `${mode}: ${row.errors} of ${attempts} failures with ${describe(value)} were recorded.`
      if (row.message === null) return `${mode}: the failure with ${describe(value)} has no text.`
      const own = messageOf(value)
      return own !== row.message && own !== undefined && `${mode}: of ${describe(value)} was kept "${row.message}".`
    }),
  ])
  await worker.stop()
}

const DEAD = `
  select (args->>'n')::integer as n, json_array_length(errors) as errors, errors->0->>'message' as message
  from pgq.dead_jobs where task = $1`

/** A backoff function of a user's that looks at the error. */
const careless = (_attempt: number, error: unknown): number => ((error as Error).message.length > 3 ? 0 : 1)

/** What an Error says of itself, where that can be stored as it is; undefined where it cannot, or says nothing. */
function messageOf(value: unknown): string | undefined {
  try {
    const { message } = value as { message?: unknown }
    return types.isNativeError(value) && typeof message === 'string' && /^[\x20-\x7e]{1,4000}$/.test(message)
      ? message
      : undefined
  } catch {
    return undefined
  }
}

function describe(value: unknown): string {
  try {
    return inspect(value, { depth: 1, breakLength: Number.POSITIVE_INFINITY }).slice(0, 100).replaceAll('\0', '\\0')
  } catch {
    return 'a value that cannot be shown'
  }
}

const ODD: fc.ObjectConstraints = {
  withBigInt: true,
  withDate: true,
  withMap: true,
  withSet: true,
  withNullPrototype: true,
  withSparseArray: true,
  withTypedArray: true,
  withObjectString: true,
  maxDepth: 3,
}

const throws = () => {
  throw new Error('no')
}

/** An Error whose property does that when it is read. */
const withGetter = (key: string, get: () => unknown, base: Error = new Error('x')) =>
  Object.defineProperty(base, key, { get })

const proxyOf = (trap: keyof ProxyHandler<Error>) => new Proxy(new Error('behind a proxy'), { [trap]: throws })

const cyclic = () => {
  const error = new Error('cyclic')
  error.cause = error
  return error
}

const HOSTILE: readonly (() => unknown)[] = [
  () => undefined,
  () => null,
  () => '',
  () => 'NUL \0 here',
  () => '\ud800 half',
  () => new Error('NUL \0 and half \udc00'),
  () => Object.assign(new Error('name'), { name: 'NUL \0 \ud800' }),
  () => Object.freeze(new Error('frozen')),
  () => Object.freeze({ frozen: true }),
  () => withGetter('message', throws),
  () => withGetter('name', throws),
  () => withGetter('stack', throws),
  () => withGetter('code', throws),
  () => withGetter('message', () => ({ toString: throws })),
  () => withGetter('name', () => Symbol('name')),
  () => withGetter('stack', () => 7n),
  () => proxyOf('get'),
  () => proxyOf('has'),
  () => proxyOf('getPrototypeOf'),
  () => proxyOf('ownKeys'),
  () => {
    const { proxy, revoke } = Proxy.revocable(new Error('revoked'), {})
    revoke()
    return proxy
  },
  () => ({ toString: throws, [Symbol.toPrimitive]: throws }),
  () => Object.create(null),
  () => Symbol('thrown'),
  () => 12n,
  () => () => 'a function',
  () => new Error('long '.repeat(2_000_000)),
  () => '\ud83d\ude00'.repeat(500_000),
  () => `${'x'.repeat(3_999)}\ud83d\ude00`,
  () => Object.assign(new Error('stack'), { stack: '\0\ud800'.repeat(100_000) }),
  cyclic,
  () =>
    new Error('deep', { cause: Array.from({ length: 5_000 }).reduce((cause) => new Error('x', { cause }), undefined) }),
  () => new AggregateError([cyclic(), undefined], 'many'),
  () => Object.assign(new Error('looks like pgq'), { code: 'PGQ_LOST_LEASE', name: 'LostLeaseError' }),
  () => Object.assign(new Error('looks like pg'), { code: '57P01', detail: 'row \0' }),
  () => ({ type: 'success' }),
  () => Object.setPrototypeOf({ message: 'no real error' }, Error.prototype),
]
