import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { decideSettlement, type Outcome, type Settlement, type TaskRetryPolicy } from '../src/index.js'
import { isDecision } from '../src/outcome.js'
import { DEFAULT_RETRY, MAX_DELAY_MS, resolveRetry, retryDelayMs } from '../src/retry-policy.js'

const now = new Date('2030-01-02T03:04:05.678Z')
const error = new Error('no')
const decide = (
  outcome: Outcome,
  { attempt = 1, policy = {}, retry = null as object | null, mayRetry = true, random = 0 } = {},
): Settlement => decideSettlement({ attempt, retry }, outcome, policy as TaskRetryPolicy, { mayRetry, now, random })

const described = { attempt: 1, at: now.toISOString(), name: 'Error', message: 'no' }

describe('decideSettlement', () => {
  const failed: Outcome = { type: 'error', error }
  const table: [what: string, settlement: Settlement, expected: object][] = [
    ['success', decide({ type: 'success' }), { kind: 'complete' }],
    ['an error', decide(failed), { kind: 'requeue', attempt: 1, delayMs: 1_000, error: described }],
    ['a third error', decide(failed, { attempt: 3 }), { kind: 'requeue', attempt: 3, delayMs: 4_000 }],
    ['the last error', decide(failed, { attempt: 20 }), { kind: 'bury', reason: 'exhausted', error: { attempt: 20 } }],
    ['one beyond', decide(failed, { attempt: 21 }), { kind: 'bury', reason: 'exhausted' }],
    [
      'attempts of the task',
      decide(failed, { attempt: 2, policy: { maxAttempts: 2 } }),
      { kind: 'bury', reason: 'exhausted' },
    ],
    [
      'attempts of the job',
      decide(failed, { attempt: 2, policy: { maxAttempts: 2 }, retry: { maxAttempts: 3 } }),
      { kind: 'requeue' },
    ],
    [
      'an error that cannot be retried',
      decide(failed, { mayRetry: false }),
      { kind: 'bury', reason: 'failed', error: described },
    ],
    [
      'retryAfter',
      decide({ type: 'retry', afterMs: 5, error }),
      { kind: 'requeue', attempt: 1, delayMs: 5, error: described },
    ],
    [
      'retryAfter without an error',
      decide({ type: 'retry', afterMs: 5 }),
      { error: { message: 'The handler asked for a retry.' } },
    ],
    [
      'retryAfter at the end',
      decide({ type: 'retry', afterMs: 5 }, { attempt: 20 }),
      { kind: 'bury', reason: 'exhausted' },
    ],
    [
      'retryAfter where none is',
      decide({ type: 'retry', afterMs: 5 }, { mayRetry: false }),
      { kind: 'bury', reason: 'failed' },
    ],
    ['snooze', decide({ type: 'snooze', delayMs: 9 }, { attempt: 4 }), { kind: 'requeue', attempt: 3, delayMs: 9 }],
    [
      'snooze after the last attempt',
      decide({ type: 'snooze', delayMs: 9 }, { attempt: 20 }),
      { kind: 'requeue', attempt: 19 },
    ],
    [
      'snooze where none is',
      decide({ type: 'snooze', delayMs: 9 }, { mayRetry: false }),
      { kind: 'bury', reason: 'failed' },
    ],
    [
      'cancel',
      decide({ type: 'cancel', reason: 'old' }),
      { kind: 'bury', reason: 'cancelled', error: { name: 'Cancelled', message: 'old' } },
    ],
    ['fail', decide({ type: 'fail', error }), { kind: 'bury', reason: 'failed', error: described }],
  ]
  test.each(table)('%s', (_, settlement, expected) => {
    expect(settlement).toMatchObject(expected)
  })

  test('a snooze records no error', () => {
    expect(decide({ type: 'snooze', delayMs: 9 })).toEqual({ kind: 'requeue', attempt: 0, delayMs: 9 })
  })

  test('an outcome of anything gives a settlement that can be stored', () => {
    const outcomes = fc.oneof(
      fc.record({ type: fc.constant('error' as const), error: fc.anything() }),
      fc.record({ type: fc.constant('retry' as const), afterMs: fc.double(), error: fc.anything() }),
      fc.record({ type: fc.constant('snooze' as const), delayMs: fc.double() }),
      fc.record({ type: fc.constant('cancel' as const), reason: fc.anything() as fc.Arbitrary<string> }),
      fc.record({
        type: fc.constant('fail' as const),
        error: fc.string({ unit: 'binary' }).map((text) => new Error(text)),
      }),
    )
    const property = fc.property(
      outcomes,
      fc.integer({ min: 1, max: 30 }),
      fc.boolean(),
      (outcome, attempt, mayRetry) => {
        const settlement = decide(outcome, { attempt, mayRetry, random: 0.5 })
        const text = JSON.stringify(settlement)
        expect(text.includes('\\u0000') || text.includes('\\ud8')).toBe(false)
        if (settlement.kind === 'requeue') {
          expect(mayRetry).toBe(true)
          expect(settlement.delayMs >= 0 && settlement.delayMs <= MAX_DELAY_MS).toBe(true)
        }
      },
    )
    fc.assert(property)
  })

  // Mutant: name, message and stack are read without care. The worker would drop the job's outcome, and keep the job for ever.
  test('an error that throws when it is read is recorded like any other', () => {
    const no = () => {
      throw new Error('no')
    }
    const getters = ['name', 'message', 'stack'].map((key) => Object.defineProperty(new Error('x'), key, { get: no }))
    const traps = ['get', 'has', 'getPrototypeOf'].map((trap) => new Proxy(new Error('x'), { [trap]: no }))
    for (const thrown of [...getters, ...traps]) {
      expect(decide({ type: 'error', error: thrown })).toMatchObject({ kind: 'requeue', error: { attempt: 1 } })
      expect(isDecision(thrown)).toBe(false)
    }
  })

  // As those of Node itself are under jest. Mutant: only instances of this realm's Error are taken for errors.
  test('an error of another realm keeps its name and its stack', () => {
    const error: unknown = runInNewContext('new RangeError("too far")')
    expect(error).not.toBeInstanceOf(Error)
    expect(decide({ type: 'error', error })).toMatchObject({
      error: { name: 'RangeError', message: 'too far', stack: expect.stringContaining('RangeError: too far\n') },
    })
  })

  // Mutant: the reason as it is: a symbol, or an object without a prototype, makes no message. The job would be kept for ever.
  test('whatever cancel() was given, it is cancelled', () => {
    const reasons: [unknown, string][] = [
      [Symbol('old'), 'Symbol(old)'],
      [Object.create(null), 'a value that cannot be shown as text'],
      [undefined, 'undefined'],
    ]
    for (const [reason, message] of reasons)
      expect(decide({ type: 'cancel', reason: reason as string })).toMatchObject({
        reason: 'cancelled',
        error: { message },
      })
  })

  // Mutant: only NaN itself counts as no number: the database would refuse the settlement, again and again.
  test.each([undefined, 'soon', {}])('a delay of %s is none', (ms) => {
    expect(decide({ type: 'retry', afterMs: ms as number })).toMatchObject({ delayMs: 0 })
    expect(decide({ type: 'snooze', delayMs: ms as number })).toMatchObject({ delayMs: 0 })
  })

  test('errors are bounded, storable, and without the detail that prints rows', () => {
    const long = Object.assign(new Error('x\0'.repeat(10_000)), {
      detail: 'Key (email)=(a@b.c) exists',
      stack: 'y'.repeat(20_000),
    })
    const settlement = decide({ type: 'fail', error: long })
    const { message, stack } = (settlement as { error: { message: string; stack: string } }).error
    expect([message.length, stack.length]).toEqual([4_000, 8_000])
    expect(message).not.toContain('\0')
    expect(JSON.stringify(settlement)).not.toContain('email')
  })
})

describe('resolveRetry', () => {
  const task = { maxAttempts: 3, minDelayMs: 7, jitter: 0, backoff: () => 5 }

  test('takes of the job what it says, of the task the rest', () => {
    expect(resolveRetry(task, { maxAttempts: 9, minDelayMs: 0, maxDelayMs: 0, factor: 1.5, jitter: 1 })).toEqual({
      ...{ maxAttempts: 9, minDelayMs: 0, maxDelayMs: 0, factor: 1.5, jitter: 1 },
      backoff: task.backoff,
    })
    expect(resolveRetry(undefined, { factor: 3 })).toEqual({ ...DEFAULT_RETRY, factor: 3 })
  })

  // Mutants: a job's own policy taken as it is; only its types looked at.
  test.each([
    { maxAttempts: 'many', minDelayMs: 'x', maxDelayMs: true, factor: [], jitter: {}, backoff: 'soon', others: 1 },
    { maxAttempts: null, minDelayMs: null, maxDelayMs: null, factor: null, jitter: null, backoff: null },
    { maxAttempts: 0, minDelayMs: -1, maxDelayMs: 1e13, factor: 0, jitter: 2 },
    { maxAttempts: 1.5, minDelayMs: Number.POSITIVE_INFINITY, maxDelayMs: -1, factor: 1_001, jitter: -0.1 },
    { maxAttempts: 32_768 },
    [[1, 2]],
    'often',
    5,
    true,
  ])('what SQL wrote as the policy of a job and no enqueue takes does not count: %j', (own) => {
    expect(resolveRetry(task, own as object)).toEqual({ ...DEFAULT_RETRY, ...task })
  })
})

describe('retryDelayMs', () => {
  const delay = (policy: TaskRetryPolicy, attempt: number, random = 0) =>
    retryDelayMs(resolveRetry(policy), attempt, error, random)

  test('doubles from a second to an hour', () => {
    const delays = [1, 2, 3, 11, 12, 13, 20, 32_767].map((attempt) => delay({}, attempt))
    expect(delays).toEqual([1_000, 2_000, 4_000, 1_024_000, 2_048_000, 3_600_000, 3_600_000, 3_600_000])
  })

  test('with the defaults, 20 attempts span about nine hours', () => {
    const total = Array.from({ length: 19 }, (_, index) => delay({}, index + 1, 0.5)).reduce((sum, ms) => sum + ms, 0)
    expect(total / 3_600_000).toBeGreaterThan(6)
    expect(total / 3_600_000).toBeLessThan(9.5)
  })

  test('a backoff function is asked with attempt and error', () => {
    const asked: unknown[] = []
    const backoff = (...args: unknown[]) => asked.push(args) * 111
    expect(delay({ backoff }, 4)).toBe(111)
    expect(asked).toEqual([[4, error]])
  })

  const broken: [what: string, backoff: (attempt: number, error: unknown) => any, expected: number][] = [
    ['throws', () => { throw new Error('no') }, 1_000], // biome-ignore format: short
    ['answers NaN', () => Number.NaN, 1_000],
    ['answers undefined', () => undefined, 1_000],
    ['answers a promise', async () => 5, 1_000],
    ['answers a symbol', () => Symbol('x'), 1_000],
    ['answers a negative', () => -5, 0],
    ['answers infinity', () => Number.POSITIVE_INFINITY, MAX_DELAY_MS],
  ]
  test.each(broken)('one that %s costs no job', (_, backoff, expected) => {
    expect(delay({ backoff }, 1)).toBe(expected)
  })

  const policies = fc.record(
    {
      maxAttempts: fc.integer({ min: 1, max: 32_767 }),
      minDelayMs: fc.double({ min: 0, max: MAX_DELAY_MS, noNaN: true }),
      maxDelayMs: fc.double({ min: 0, max: MAX_DELAY_MS, noNaN: true }),
      factor: fc.double({ min: 1, max: 1_000, noNaN: true }),
      jitter: fc.double({ min: 0, max: 1, noNaN: true }),
    },
    { requiredKeys: [] },
  )
  const attempts = fc.integer({ min: -5, max: 40_000 })
  const randoms = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })

  test('is never negative, never NaN, and bounded by maxDelayMs', () => {
    fc.assert(
      fc.property(policies, attempts, randoms, (policy, attempt, random) => {
        const ms = delay(policy, attempt, random)
        expect(ms >= 0 && ms <= Math.min(policy.maxDelayMs ?? DEFAULT_RETRY.maxDelayMs, MAX_DELAY_MS)).toBe(true)
      }),
      { numRuns: 2_000 },
    )
  })

  test('jitter takes away at most its share', () => {
    fc.assert(
      fc.property(policies, attempts, randoms, (policy, attempt, random) => {
        const { jitter } = resolveRetry(policy)
        const full = delay(policy, attempt, 0)
        const ms = delay(policy, attempt, random)
        expect(ms <= full && ms >= full * (1 - jitter) - 1e-3).toBe(true)
        if (full > 1 && jitter > 0.01 && random > 0.01) expect(ms).toBeLessThan(full)
      }),
    )
  })
})
