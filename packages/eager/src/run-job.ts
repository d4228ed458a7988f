import {
  checkExecutor,
  type Executor,
  HandledJob,
  type Handler,
  InvalidOptionError,
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
  const job = handledJob(handler, entry, trx, abort.signal)
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

function handledJob(
  { task }: Handler,
  entry: Entry,
  trx: Transaction<any> | undefined,
  signal: AbortSignal,
): HandledJob {
  const { job, readyAt, meta, retry } = entry
  const stored = {
    ...job,
    attempt: job.attempts,
    crashCount: 0,
    // Copies: what the handler does to them is not done to the queue's.
    createdAt: new Date(job.createdAt),
    readyAt: new Date(readyAt),
    meta: meta ? { ...meta } : null,
  }
  return new HandledJob(stored, {
    maxAttempts: task.mode === 'at-most-once' ? 1 : resolveRetry(task.retry, retry).maxAttempts,
    signal,
    finish: task.mode === 'at-least-once' ? (executor) => finish(entry, executor) : undefined,
    get trx() {
      return task.mode === 'transactional' ? (trx ?? refuseTrx(task.name)) : undefined
    },
  })
}

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
