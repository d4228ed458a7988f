import {
  checkExecutor,
  type Executor,
  type Handler,
  InvalidOptionError,
  type Job,
  type JobMeta,
  type LeasedJob,
  type Outcome,
  resolveRetry,
  runHandler,
  TimeoutError,
} from '@pgq/core'
import type { Transaction } from 'kysely'
import type { Entry } from './eager-job.js'
import { insideSavepoint } from './savepoint.js'

/** As in a worker: a handler that goes on after its aborted signal for longer than this is settled without, in ms. */
const HEED_MS = 1_000

/** Runs the handler once, as a worker does: the same validation, decisions, timeout and, with a transaction, savepoint. */
export async function runJob(handler: Handler, entry: Entry, trx: Transaction<any> | undefined): Promise<Outcome> {
  entry.finished = false
  const abort = new AbortController()
  const job = new Context({ handler, entry, trx, signal: abort.signal })
  const run = () =>
    withTimeout(handler, entry.job.id, abort, () => runHandler(handler, JSON.parse(entry.argsText), job))
  const outcome = await (handler.task.mode === 'transactional' && trx ? insideSavepoint(trx, run) : run())
  return afterFinish(entry, outcome)
}

/**
 * Whether the transaction of job.finish() committed is not ours to see. As a rule a throw rolls it back, so the attempt failed; whatever
 * else a handler decides after it is dropped, as by a worker whose job is finished.
 */
const afterFinish = ({ finished }: Entry, outcome: Outcome): Outcome =>
  finished && outcome.type !== 'error' ? { type: 'success' } : outcome

/** The job as the handler sees it. A class of getters, as the worker's: a copy of it lacks here what it lacks there. */
class Context implements Job {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  readonly attempt: number
  readonly crashCount = 0
  readonly createdAt: Date
  readonly readyAt: Date
  readonly meta: JobMeta
  readonly #run: Run

  constructor(run: Run) {
    const { job, readyAt, meta } = run.entry
    this.id = job.id
    this.task = job.task
    this.queue = job.queue
    this.priority = job.priority
    this.attempt = job.attempts
    this.createdAt = new Date(job.createdAt)
    this.readyAt = new Date(readyAt)
    this.meta = meta ? { ...meta } : NO_META
    this.#run = run
  }

  get maxAttempts(): number {
    const { handler, entry } = this.#run
    return handler.task.mode === 'at-most-once' ? 1 : resolveRetry(handler.task.retry, entry.retry).maxAttempts
  }

  get signal(): AbortSignal {
    return this.#run.signal
  }

  /** Only with at-least-once. */
  get finish(): LeasedJob['finish'] | undefined {
    const { handler, entry } = this.#run
    return handler.task.mode === 'at-least-once' ? (executor) => finish(entry, executor) : undefined
  }

  /** Only with transactional. */
  get trx(): Transaction<any> | undefined {
    const { handler, trx } = this.#run
    return handler.task.mode === 'transactional' ? (trx ?? refuseTrx(handler.task.name)) : undefined
  }
}

interface Run {
  readonly handler: Handler
  readonly entry: Entry
  readonly trx: Transaction<any> | undefined
  readonly signal: AbortSignal
}

const NO_META = Object.freeze({})

async function finish(entry: Entry, executor: Executor): Promise<void> {
  checkExecutor(executor, 'The transaction given to job.finish(trx)')
  entry.finished = true
}

function refuseTrx(task: string): never {
  throw new InvalidOptionError(
    `Task "${task}" is transactional and uses job.trx, but this eager queue has no transaction: open one of Kysely in the test and call queue.attach(trx).`,
  )
}

async function withTimeout(
  { task }: Handler,
  jobId: string,
  abort: AbortController,
  run: () => Promise<Outcome>,
): Promise<Outcome> {
  const { timeoutMs } = task
  if (!timeoutMs) return run()
  const timers: NodeJS.Timeout[] = []
  const giveUp = new Promise<Outcome>((resolve) => {
    const error = new TimeoutError(jobId, timeoutMs)
    timers.push(setTimeout(() => abort.abort(error), timeoutMs))
    timers.push(setTimeout(() => resolve({ type: 'error', error }), timeoutMs + HEED_MS))
  })
  const outcome = await Promise.race([run(), giveUp])
  for (const timer of timers) clearTimeout(timer)
  return outcome.type === 'error' && abort.signal.aborted ? { type: 'error', error: abort.signal.reason } : outcome
}
