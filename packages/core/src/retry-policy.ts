import { InvalidOptionError } from './errors.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'

/** Own backoff: milliseconds to wait after the given attempt (from 1) failed. */
export type BackoffFunction = (attempt: number, error: unknown) => number

/** When and how often a failed job runs again. Delays count from the failure, by the database's clock. */
export interface RetryPolicy {
  /** Handler runs in all, the first one included: 1 to 32,767. Default 20. */
  readonly maxAttempts?: number
  /** Delay after the first failure, in ms. Default 1,000. */
  readonly minDelayMs?: number
  /** No delay is longer than this, in ms. Default 3,600,000 (an hour). */
  readonly maxDelayMs?: number
  /** What each delay is multiplied by from failure to failure. Default 2. */
  readonly factor?: number
  /** The share of the delay that is random, 0 to 1, so that failures do not return together. Default 0.25. */
  readonly jitter?: number
}

/** The retry policy of a task: the numbers, or a backoff function of its own. */
export interface TaskRetryPolicy extends RetryPolicy {
  /** Decides each delay in place of the numbers above, which count when it throws or answers no number. */
  readonly backoff?: BackoffFunction
}

const RETRY_OPTIONS = optionNames<TaskRetryPolicy>({
  maxAttempts: true,
  minDelayMs: true,
  maxDelayMs: true,
  factor: true,
  jitter: true,
  backoff: true,
})

/** With these defaults the 20 attempts of a job span 6 to 8 hours. */
export const DEFAULT_RETRY = Object.freeze({
  maxAttempts: 20,
  minDelayMs: 1_000,
  maxDelayMs: 3_600_000,
  factor: 2,
  jitter: 0.25,
})

/** Limit of a delay: ten years. Keeps every instant inside what timestamps hold. */
export const MAX_DELAY_MS = 315_576_000_000

/** What each number may be, from and to. */
const RANGES = {
  maxAttempts: [1, 32_767],
  minDelayMs: [0, MAX_DELAY_MS],
  maxDelayMs: [0, MAX_DELAY_MS],
  factor: [1, 1_000],
  jitter: [0, 1],
} satisfies Record<keyof RetryPolicy, readonly [min: number, max: number]>

const NUMBERS = Object.keys(RANGES) as (keyof RetryPolicy)[]

const fits = (name: keyof RetryPolicy, value: unknown): value is number =>
  typeof value === 'number' &&
  value >= RANGES[name][0]! &&
  value <= RANGES[name][1]! &&
  (name !== 'maxAttempts' || Number.isInteger(value))

/**
 * The task's policy, overridden by the job's own, over the defaults. A job's own may have been written by SQL: what no enqueue would
 * have taken does not count, as with it a job might fail for ever, and without a pause.
 */
export function resolveRetry(
  task: TaskRetryPolicy | undefined,
  job?: RetryPolicy | null,
): Required<RetryPolicy> & { backoff?: BackoffFunction } {
  const policy = { ...DEFAULT_RETRY, ...task }
  if (job) {
    for (const name of NUMBERS) {
      const own = job[name]
      if (fits(name, own)) policy[name] = own
    }
  }
  return policy
}

/** Milliseconds until the next attempt. Pure: random is in [0, 1). A backoff function that throws or
 * answers no number is passed over. */
export function retryDelayMs(
  policy: ReturnType<typeof resolveRetry>,
  attempt: number,
  error: unknown,
  random: number,
): number {
  const own = policy.backoff && tryBackoff(policy.backoff, attempt, error)
  if (own !== undefined) return clampDelay(own)
  const exponential = policy.minDelayMs * policy.factor ** (Math.max(attempt, 1) - 1)
  return clampDelay(Math.min(exponential, policy.maxDelayMs) * (1 - policy.jitter * random))
}

/** Undefined when the function throws or answers no number: a bug in it must not cost the job. */
function tryBackoff(backoff: BackoffFunction, attempt: number, error: unknown): number | undefined {
  try {
    const delay = Number(backoff(attempt, error))
    return Number.isNaN(delay) ? undefined : delay
  } catch {
    return undefined
  }
}

/** A delay that is never negative, never NaN (from JavaScript: undefined, a text), and never beyond what a timestamp holds. */
export const clampDelay = (ms: number): number => Math.min(Math.max(Number(ms) || 0, 0), MAX_DELAY_MS)

/** Throws InvalidOptionError naming the option that is out of range. */
export function checkRetryPolicy(policy: TaskRetryPolicy, where: string): void {
  if (typeof policy !== 'object' || policy === null) {
    throw new InvalidOptionError(`${where}: retry is ${shown(policy)}; use an object, as in { maxAttempts: 3 }.`)
  }
  checkOptionNames(policy, RETRY_OPTIONS, `${where}: retry`)
  for (const name of NUMBERS) {
    const value = policy[name]
    if (value === undefined || fits(name, value)) continue
    const [min, max] = RANGES[name]
    throw new InvalidOptionError(
      `${where}: retry.${name} is ${shown(value)}; use ${name === 'maxAttempts' ? 'a whole number' : 'a number'} from ${min} to ${max}.`,
    )
  }
  if (policy.backoff !== undefined && typeof policy.backoff !== 'function') {
    throw new InvalidOptionError(`${where}: retry.backoff must be a function (attempt, error) => milliseconds.`)
  }
}
