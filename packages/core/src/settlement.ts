import type { DeadReason } from './database.js'
import { storableText } from './encode-args.js'
import type { Outcome } from './outcome.js'
import { isError, readThrown } from './read-thrown.js'
import { clampDelay, type RetryPolicy, resolveRetry, retryDelayMs, type TaskRetryPolicy } from './retry-policy.js'

/** One failed attempt, as kept with the job. */
export interface JobError {
  readonly attempt: number
  /** When it failed, ISO 8601. */
  readonly at: string
  readonly name: string
  readonly message: string
  readonly stack?: string
}

/** What becomes of a job: the meaning of an outcome, ready to be written. */
export type Settlement =
  | { readonly kind: 'complete' }
  | { readonly kind: 'requeue'; readonly attempt: number; readonly delayMs: number; readonly error?: JobError }
  | { readonly kind: 'bury'; readonly reason: Exclude<DeadReason, 'crashed'>; readonly error?: JobError }

/** What decideSettlement needs to know of a job: the attempt that just ran (from 1) and its own retry policy. */
export interface SettledJob {
  readonly attempt: number
  readonly retry?: RetryPolicy | null
}

const MAX_MESSAGE = 4_000
const MAX_STACK = 8_000

/**
 * What an outcome means for the job: the only place where that is decided. Pure, when now and random (in [0, 1)) are passed in.
 * Where the mode cannot retry, every failure ends in the dead letters.
 */
export function decideSettlement(
  job: SettledJob,
  outcome: Outcome,
  policy: TaskRetryPolicy | undefined,
  conditions: Conditions,
): Settlement {
  return outcome.type === 'success' ? COMPLETE : decideUnsuccessful(job, outcome, policy, conditions)
}

interface Conditions {
  readonly mayRetry: boolean
  readonly now?: Date
  readonly random?: number
}

function decideUnsuccessful(
  job: SettledJob,
  outcome: Exclude<Outcome, { type: 'success' }>,
  policy: TaskRetryPolicy | undefined,
  { mayRetry, now, random = Math.random() }: Conditions,
): Settlement {
  const describe = (error: unknown) => describeError(error, job.attempt, now)
  const again = (delayMs: () => number, error: unknown): Settlement => {
    const retry = resolveRetry(policy, job.retry)
    if (!mayRetry) return { kind: 'bury', reason: 'failed', error: describe(error) }
    if (job.attempt >= retry.maxAttempts) return { kind: 'bury', reason: 'exhausted', error: describe(error) }
    return { kind: 'requeue', attempt: job.attempt, delayMs: delayMs(), error: describe(error) }
  }
  switch (outcome.type) {
    case 'error':
      return again(
        () => retryDelayMs(resolveRetry(policy, job.retry), job.attempt, outcome.error, random),
        outcome.error,
      )
    case 'retry':
      return again(() => clampDelay(outcome.afterMs), outcome.error ?? new Error('The handler asked for a retry.'))
    case 'snooze':
      if (!mayRetry) return { kind: 'bury', reason: 'failed', error: describe(new Error(CANNOT_SNOOZE)) }
      return { kind: 'requeue', attempt: job.attempt - 1, delayMs: clampDelay(outcome.delayMs) }
    case 'cancel':
      return { kind: 'bury', reason: 'cancelled', error: describe(cancelled(outcome.reason)) }
    case 'fail':
      return { kind: 'bury', reason: 'failed', error: describe(outcome.error) }
  }
}

const COMPLETE: Settlement = Object.freeze({ kind: 'complete' })

const CANNOT_SNOOZE = 'The handler asked for a snooze, but an at-most-once job runs only once.'

const cancelled = (reason: string): Error => {
  const error = new Error(storableText(reason, MAX_MESSAGE))
  error.name = 'Cancelled'
  delete (error as { stack?: string }).stack
  return error
}

/** An error as it is kept: any thrown value, made storable. PostgreSQL's `detail` (it prints rows) is not kept. */
function describeError(error: unknown, attempt: number, now = new Date()): JobError {
  const read = (key: 'name' | 'message' | 'stack') => (isError(error) ? readThrown(error, key) : undefined)
  const stack = read('stack')
  return {
    attempt,
    at: now.toISOString(),
    name: storableText(read('name') ?? 'Error', 200),
    message: storableText(read('message') ?? error, MAX_MESSAGE),
    ...(typeof stack === 'string' && { stack: storableText(stack, MAX_STACK) }),
  }
}
