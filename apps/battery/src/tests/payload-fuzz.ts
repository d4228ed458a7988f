import { isDeepStrictEqual } from 'node:util'
import {
  type DeliveryModeName,
  defineTask,
  type Job,
  type NotSerialisableError,
  redriveDeadJobs,
  typed,
} from '@pgq/core'
import fc from 'fast-check'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { ownWorker } from '../own-worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'

/** Args of every kind come back as they went in, wherever the job goes on its way; or enqueue refuses them and names the place. */
export const payloadFuzz: BatteryTest = {
  number: 31,
  name: 'payload-fuzz',
  mutants: [
    {
      name: '-0 is written as 0',
      patches: [
        {
          file: 'packages/core/src/encode-args.ts',
          find: "return Object.is(value, -0) ? '-0' : String(value)",
          replace: 'return String(value)',
        },
      ],
    },
    {
      name: 'what JSON leaves out is left out',
      patches: [
        {
          file: 'packages/core/src/encode-args.ts',
          find: "throw refuse(place, 'undefined')",
          replace: "return 'null'",
        },
      ],
    },
    {
      name: 'a job that is put back is written from its parsed args',
      patches: [
        {
          file: 'packages/core/src/settle.ts',
          find: 'meta: meta && JSON.stringify(meta),',
          replace: 'meta: meta && JSON.stringify(meta), argsText: JSON.stringify(args),',
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const seed = context.random.between(0, 2 ** 31)
    const numRuns = context.long ? 20_000 : 200
    const values = [...fc.sample(JSON_VALUES, { seed, numRuns }), ...fc.sample(ANYTHING, { seed: seed + 1, numRuns })]
    const refusals = new Map<string, number>()
    let came = 0
    for (const mode of ['at-least-once', 'transactional', 'at-most-once'] as const) {
      came += await sendAll(context, queue, mode, values, refusals)
    }
    const refused = [...refusals.values()].reduce((sum, count) => sum + count, 0)
    return `${came} values came back as they went in, retried, buried and redriven; ${refused} refused for ${refusals.size} reasons, each with its path`
  },
}

async function sendAll(
  context: TestContext,
  queue: TestQueue,
  mode: DeliveryModeName,
  values: readonly unknown[],
  refusals: Map<string, number>,
): Promise<number> {
  const once = mode === 'at-most-once'
  const task = defineTask(`echo-${mode}`, {
    mode,
    args: typed<{ n: number; value: unknown }>(),
    ...(once ? {} : { retry: { maxAttempts: 2, minDelayMs: 0 } }),
  } as never)
  const problems: string[] = []
  const done = new Set<number>()
  const rounds = new Map<number, number>()
  // Waiting, leased, retried, buried, redriven: each way rewrites the job.
  const handler = task.handle((({ n, value }: { n: number; value: unknown }, _job: Job) => {
    if (!sameJson(value, values[n])) problems.push(`${mode}: ${show(values[n])} came back as ${show(value)}.`)
    const round = (rounds.get(n) ?? 0) + 1
    rounds.set(n, round)
    if (round <= (once ? 1 : 2)) throw new Error('again')
    done.add(n)
  }) as never)
  let expected = 0
  for (const [n, value] of values.entries()) {
    const error: NotSerialisableError | undefined = await task.enqueue(queue.pool, { n, value } as never).then(
      () => undefined,
      (reason) => reason,
    )
    if (!error) expected += 1
    else if (error.code !== 'PGQ_NOT_SERIALISABLE' || !error.path.startsWith('args.value'))
      problems.push(`${mode}: ${show(value)} was refused with ${error.message}`)
    else refusals.set(reasonOf(error), (refusals.get(reasonOf(error)) ?? 0) + 1)
  }
  const worker = await ownWorker(context, queue, [handler], { concurrency: 20, stats: false })
  const buried = () => queue.value<number>('select count(*)::integer from pgq.dead_jobs where task = $1', [task.name])
  await until('every job is dead', async () => (await buried()) === expected, 30_000, 25).catch(() => {})
  await redriveDeadJobs(queue.pool, { task: task.name })
  await until('every job is done', () => done.size === expected, 30_000, 25).catch(() => {})
  expectNone([...problems, done.size < expected && `${mode}: ${expected - done.size} of ${expected} jobs were lost.`])
  await worker.stop()
  return expected
}

const reasonOf = ({ message, path }: NotSerialisableError): string => message.slice(path.length).split(',')[0]!

/** The same, but for prototypes: JSON has none. */
function sameJson(came: unknown, sent: unknown): boolean {
  if (typeof sent !== 'object' || sent === null) return Object.is(came, sent)
  if (typeof came !== 'object' || came === null || Array.isArray(came) !== Array.isArray(sent)) return false
  const keys = Object.keys(sent)
  return (
    isDeepStrictEqual(Object.keys(came), keys) &&
    keys.every((key) => Object.hasOwn(came, key) && sameJson(came[key as never], sent[key as never]))
  )
}

const show = (value: unknown): string => fc.stringify(value).slice(0, 200)

/** What breaks quoting, what jsonb would change, what other encoders lose. */
const TEXT = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 40 }),
  fc.constantFrom(
    '',
    '\\',
    '\\u0000',
    '"',
    "'",
    '$1',
    '{a,"b"}',
    'NULL',
    '\x1f',
    '\u2028',
    '\ufeff',
    '\ud83d\ude00',
    '__proto__',
    'toJSON',
  ),
)
const NUMBER = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(0, -0, 2 ** 53 + 2, 1e308, 5e-324, 1e21, 0.1 + 0.2, -(2 ** 31), 2 ** 63),
)
const { json: JSON_VALUES } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 5 },
    TEXT.map((text) => text.replaceAll('\0', '').toWellFormed()),
    NUMBER,
    fc.constantFrom(null, true, false),
    fc.array(tie('json'), { maxLength: 6 }),
    fc
      .array(
        fc.tuple(
          TEXT.map((text) => text.replaceAll('\0', '').toWellFormed()),
          tie('json'),
        ),
        { maxLength: 6 },
      )
      .map(Object.fromEntries),
  ),
}))

class Point {
  constructor(readonly x = 1) {}
}
const cycle: { self?: unknown } = {}
cycle.self = [{ cycle }]
const ANYTHING = fc.oneof(
  fc.anything({
    withBigInt: true,
    withBoxedValues: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withNullPrototype: true,
    withSparseArray: true,
    withTypedArray: true,
    maxDepth: 3,
    key: TEXT,
    values: [TEXT, NUMBER, fc.constantFrom<unknown>(undefined, Number.NaN, Number.POSITIVE_INFINITY, 1n, null)],
  }),
  fc.constantFrom<unknown>(
    Symbol('x'),
    () => 1,
    new Point(),
    [new Point()],
    { a: { b: [undefined] } },
    cycle,
    { [Symbol('key')]: 1 },
    Object.assign([1], { named: 2 }),
    {
      get broken(): never {
        throw new Error('no')
      },
    },
    { toJSON: () => 'other' },
    Array(3),
    new Error('x'),
    new URL('https://example.com'),
    Buffer.from('x'),
  ),
)
