import {
  type Executor,
  type Handler,
  InvalidOptionError,
  type Job,
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
export function runJob(handler: Handler, entry: Entry, trx: Transaction<any> | undefined): Promise<Outcome> {
  const abort = new AbortController()
  const job = contextOf(handler, entry, trx, abort.signal)
  const run = () =>
    withTimeout(handler, entry.job.id, abort, () => runHandler(handler, JSON.parse(entry.argsText), job))
  return handler.task.mode === 'transactional' && trx ? insideSavepoint(trx, run) : run()
}

function contextOf({ task }: Handler, entry: Entry, trx: Transaction<any> | undefined, signal: AbortSignal): Job {
  const { id, queue, priority, attempts, createdAt } = entry.job
  const context = {
    id,
    task: task.name,
    queue,
    priority,
    attempt: attempts,
    maxAttempts: task.mode === 'at-most-once' ? 1 : resolveRetry(task.retry, entry.retry).maxAttempts,
    crashCount: 0,
    createdAt,
    readyAt: new Date(entry.readyAt),
    meta: entry.meta ?? {},
    signal,
  }
  if (task.mode === 'at-least-once') return Object.assign(context, { finish: (on: Executor) => finish(entry, on) })
  if (task.mode !== 'transactional') return context
  return Object.defineProperty(context, 'trx', {
    enumerable: trx !== undefined,
    get: () => trx ?? refuseTrx(task.name),
  })
}

// Whether the transaction commits is not ours to see: it counts as if it did.
async function finish(entry: Entry, executor: Executor): Promise<void> {
  if (!executor) throw new InvalidOptionError("job.finish(trx) needs the transaction of the handler's own writes.")
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
