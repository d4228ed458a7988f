import {
  CancelledError,
  decideSettlement,
  type Handler,
  InvalidOptionError,
  isOutcome,
  type Job,
  type JobMeta,
  LostLeaseError,
  type Outcome,
  type PgqError,
  resolveRetry,
  runHandler,
  TimeoutError,
  WorkerStoppingError,
} from '@pgq/core'
import { type Claim, CommitRefused, type DeliveryMode, FinishedAlready } from './delivery/delivery-mode.js'
import type { Events, JobLabel } from './events.js'
import type { Around } from './options.js'
import type { SettledRuns } from './settled-runs.js'

/** A handler that heeds its aborted signal no sooner than this is reported, and its job settled without it, in ms. */
const HEED_MS = 1_000

/** How a handler run ended. */
export interface JobResult {
  readonly outcome: Outcome
  /** By our own clock, ms since the epoch. */
  readonly startedAt: number
  readonly durationMs: number
}

/** One claimed job on its way through its handler. */
export class JobRun {
  /** By our own clock, as performance.now(). */
  readonly claimedAt = performance.now()
  #abort: AbortController | undefined
  #abortReason: PgqError | undefined
  #ended: ((outcome: Outcome) => void) | undefined

  constructor(
    readonly claim: Claim,
    private readonly handler: Handler,
    private readonly mode: DeliveryMode,
    private readonly events: Events,
    private readonly around: Around | undefined,
    private readonly settled: SettledRuns,
  ) {}

  get label(): JobLabel {
    const { id, task, queue, attempt } = this.claim.job
    return { jobId: id, task, queue, attempt, mode: this.mode.name }
  }

  /** Waits until the handler may run. False: it may not any more, give the job back. */
  async begin(): Promise<boolean> {
    return ((await this.claim.begin?.()) ?? true) && this.#abortReason === undefined
  }

  /** Runs the handler; resolves when it has ended, with what is to become of the job. Never rejects. */
  run(): Promise<JobResult> {
    if (this.events.has('job.started')) this.events.emit('job.started', this.label)
    return new Promise((resolve) => {
      const startedAt = Date.now()
      const start = performance.now()
      const { timeoutMs } = this.handler.task
      const timer = timeoutMs
        ? setTimeout(() => this.abort(new TimeoutError(this.claim.job.id, timeoutMs)), timeoutMs)
        : undefined
      this.#ended = (outcome) => {
        this.#ended = undefined
        clearTimeout(timer)
        resolve({ outcome: this.#judge(outcome), startedAt, durationMs: performance.now() - start })
      }
      void this.#runAround().then((outcome) => this.#ended?.(outcome))
    })
  }

  /** Writes what the outcome means, and tells it when it is durable. Never rejects. */
  async settle(result: JobResult): Promise<void> {
    const { outcome, startedAt, durationMs } = result
    const { job } = this.claim
    try {
      // An at-most-once job that has begun must not run again: it ends as failed.
      const goesBack =
        this.#abortReason instanceof WorkerStoppingError && outcome.type === 'error' && this.mode.mayRetry
      if (goesBack) return await this.#giveBack()
      const settlement = decideSettlement(job, outcome, this.handler.task.retry, this.mode)
      await this.claim.settle(settlement)
      const waitMs = Math.max(startedAt - job.readyAt.getTime(), 0)
      this.settled.add(this.mode.name, job, settlement, waitMs, durationMs)
      if (this.events.has('job.settled')) {
        // Field by field: spreading the label costs 2 us.
        const { id: jobId, task, queue, attempt } = job
        const mode = this.mode.name
        this.events.emit('job.settled', {
          jobId,
          task,
          queue,
          attempt,
          mode,
          outcome,
          settlement,
          waitMs,
          durationMs,
        })
      }
    } catch (error) {
      if (error instanceof CommitRefused)
        await this.settle({ ...result, outcome: { type: 'error', error: error.cause } })
      else if (error instanceof FinishedAlready) await this.settle({ ...result, outcome: { type: 'success' } })
      else this.#notSettled(error)
    }
  }

  /** Gives the job back unrun, or unfinished, its attempt not counted. Never rejects. */
  async release(): Promise<void> {
    await this.#giveBack().catch((error) => this.#notSettled(error))
  }

  abort(reason: PgqError): void {
    if (this.#abortReason) return
    this.#abortReason = reason
    this.#abort?.abort(reason)
    setTimeout(() => this.#goOnWithout(reason), HEED_MS).unref()
  }

  async #giveBack(): Promise<void> {
    await this.claim.release()
    this.events.emit('job.released', this.label)
  }

  /** Decides for a handler that goes on after its abort. */
  #goOnWithout(reason: PgqError): void {
    if (!this.#ended) return
    this.events.emit('job.stuck', { ...this.label, abortedForMs: HEED_MS })
    this.#ended({ type: 'error', error: reason })
  }

  /** What the handler's end means, given how it was aborted and what it did to its transaction. */
  #judge(outcome: Outcome): Outcome {
    const reason = this.#abortReason
    if (outcome.type === 'success' && this.claim.isSpoiled?.()) return { type: 'error', error: new Error(SPOILED) }
    if (outcome.type !== 'success' && reason instanceof CancelledError) return { type: 'cancel', reason: CANCELLED }
    if (outcome.type === 'error' && reason instanceof TimeoutError) return { type: 'error', error: reason }
    return outcome
  }

  #notSettled(error: unknown): void {
    if (error instanceof LostLeaseError) this.events.emit('job.lost', { ...this.label, error })
    else this.events.emit('job.unsettled', { ...this.label, error })
  }

  #runAround(): Promise<Outcome> {
    const job = new Context(this)
    const { around, handler, claim } = this
    if (!around) return runHandler(handler, claim.job.args, job)
    const wrapped = async () => {
      const outcome = await around(job, () => runHandler(handler, claim.job.args, job))
      if (!isOutcome(outcome))
        throw new InvalidOptionError('around answered no outcome: let it return what next() answers.')
      return outcome
    }
    return wrapped().catch((error) => ({ type: 'error', error }))
  }

  get maxAttempts(): number {
    return this.mode.mayRetry ? resolveRetry(this.handler.task.retry, this.claim.job.retry).maxAttempts : 1
  }

  /** The controller is made when somebody asks for the signal. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.#abortReason) this.#abort.abort(this.#abortReason)
    }
    return this.#abort.signal
  }
}

/** The job as the handler sees it. A class, because an object of closures costs each job 0.5 us. */
class Context implements Job {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  readonly attempt: number
  readonly crashCount: number
  readonly createdAt: Date
  readonly readyAt: Date
  readonly meta: JobMeta
  readonly #run: JobRun

  constructor(run: JobRun) {
    const { job } = run.claim
    this.id = job.id
    this.task = job.task
    this.queue = job.queue
    this.priority = job.priority
    this.attempt = job.attempt
    this.crashCount = job.crashCount
    this.createdAt = job.createdAt
    this.readyAt = job.readyAt
    this.meta = job.meta ?? NO_META
    this.#run = run
  }

  get maxAttempts(): number {
    return this.#run.maxAttempts
  }

  get signal(): AbortSignal {
    return this.#run.signal
  }

  /** Only with at-least-once. */
  get finish(): Claim['finish'] {
    const { claim } = this.#run
    return claim.finish && ((trx) => claim.finish!(trx))
  }

  /** Only with transactional. */
  get trx(): Claim['trx'] {
    return this.#run.claim.trx
  }
}

const NO_META = Object.freeze({})

const CANCELLED = 'It was cancelled while it ran.'

const SPOILED =
  'A statement failed inside job.trx and the handler went on: nothing of it can be committed. Let the error through, or use a savepoint.'
