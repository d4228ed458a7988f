import { InvalidOptionError } from './errors.js'
import { shown } from './option-names.js'
import { readThrown } from './read-thrown.js'
import { clampDelay } from './retry-policy.js'

/** How one run of a handler ended. */
export type Outcome =
  /** error: what the handler threw after the transaction in which its job was finished had committed. */
  | { readonly type: 'success'; readonly error?: unknown }
  | { readonly type: 'error'; readonly error: unknown }
  | { readonly type: 'retry'; readonly afterMs: number; readonly error?: unknown }
  | { readonly type: 'snooze'; readonly delayMs: number }
  | { readonly type: 'cancel'; readonly reason: string }
  | { readonly type: 'fail'; readonly error: unknown }

const TYPES = new Set<unknown>(['success', 'error', 'retry', 'snooze', 'cancel', 'fail'] satisfies Outcome['type'][])

/** Whether a value that should be an outcome has the type of one. */
export const isOutcome = (value: unknown): value is Outcome => TYPES.has(readThrown(value, 'type'))

// A brand instead of instanceof: the ESM and the CJS build of this package may meet in one process.
const DECISION = Symbol.for('pgq.decision')

/** A handler's own decision about its job. Return it or throw it; both mean the same. */
export class Decision extends Error {
  override readonly name = 'Decision'
  readonly [DECISION] = true

  constructor(readonly outcome: Outcome) {
    super(`The handler decided: ${outcome.type}.`)
  }
}

/**
 * Runs the job again after afterMs instead of the policy's delay; less than 0 means at once. Counts as a failed attempt, which is kept
 * with the error. Throws InvalidOptionError for what is no number.
 */
export const retryAfter = (afterMs: number, error?: unknown): Decision =>
  new Decision({ type: 'retry', afterMs: checkDelay(afterMs, 'retryAfter'), error })

/**
 * Puts the job off for delayMs; less than 0 means at once. Not a failure: the attempt is not counted. Throws InvalidOptionError for
 * what is no number.
 */
export const snooze = (delayMs: number): Decision =>
  new Decision({ type: 'snooze', delayMs: checkDelay(delayMs, 'snooze') })

/** Ends the job without success, on purpose: a dead letter with reason "cancelled". */
export const cancel = (reason: string): Decision => new Decision({ type: 'cancel', reason })

/** Ends the job for good, whatever attempts are left: a dead letter with reason "failed". */
export const fail = (error: unknown): Decision => new Decision({ type: 'fail', error })

/** As NaN, of a Retry-After header that holds a date, a snooze would run again at once, for ever: thrown, it is a failed attempt. */
function checkDelay(ms: number, what: 'retryAfter' | 'snooze'): number {
  if (typeof ms === 'number' && !Number.isNaN(ms)) return clampDelay(ms)
  throw new InvalidOptionError(`${what}: the delay is ${shown(ms)}; use a number of milliseconds.`)
}

/** Whether a value is what retryAfter(), snooze(), cancel() or fail() made, of whichever build of this package. */
export const isDecision = (value: unknown): value is Decision =>
  typeof value === 'object' && readThrown(value, DECISION) === true
