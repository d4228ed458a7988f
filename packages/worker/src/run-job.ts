import {
  CancelledError,
  decideSettlement,
  HandledJob,
  type Handler,
  InvalidOptionError,
  isOutcome,
  type Job,
  LostLeaseError,
  type Outcome,
  type PgqError,
  resolveRetry,
  runHandler,
  type Settlement,
  TimeoutError,
  WorkerStoppingError,
} from '@pgq/core'
import {
  type Claim,
  CommitRefused,
  type DeliveryMode,
  type Ending,
  FinishedAlready,
  RELEASE,
} from './delivery/delivery-mode.js'
import type { Events, JobLabel } from './events.js'
import type { Around } from './options.js'
import type { SettledRuns } from './settled-runs.js'

/** A handler that heeds its aborted signal no sooner than this is reported, and its job settled without it, in ms. */
const HEED_MS = 1_000

/** What a run asks of the lane around it. */
export interface RunHost {
  readonly mode: DeliveryMode
  readonly events: Events
  readonly around: Around | undefined
  readonly settled: SettledRuns
  /** The handler has ended, after so many ms. What that means for its job is being written. */
  ended(run: JobRun, durationMs: number): void
  /** That is durable, or told as lost or unsettled. */
  closed(run: JobRun): void
}

/** One claimed job on its way through its handler. It calls its lane back: a promise for each step cost a job a microsecond. */
export class JobRun {
  /** By our own clock, as performance.now(). */
  readonly claimedAt = performance.now()
  /** Among the running ones, which see to it. */
  place = -1
  /** By our own clock, ms since the epoch. */
  #startedAt = 0
  /** By performance.now(). */
  #start = 0
  #durationMs = 0
  #timer: NodeJS.Timeout | undefined
  #abort: AbortController | undefined
  #abortReason: PgqError | undefined
  #isRunning = false

  constructor(
    readonly claim: Claim,
    private readonly handler: Handler,
    private readonly host: RunHost,
  ) {}

  get label(): JobLabel {
    const { id, task, queue, attempt } = this.claim.job
    return { jobId: id, task, queue, attempt, mode: this.host.mode.name }
  }

  /** Waits until the handler may run, of a job that has to. False: it may not any more, give the job back. */
  async begin(): Promise<boolean> {
    return (await this.claim.begin!()) && this.#abortReason === undefined
  }

  /** Runs the handler, and settles the job when it has ended. */
  run(): void {
    const { events } = this.host
    if (events.has('job.started')) events.emit('job.started', this.label)
    this.#isRunning = true
    this.#startedAt = Date.now()
    this.#start = performance.now()
    const { timeoutMs } = this.handler.task
    if (timeoutMs) {
      const { id } = this.claim.job
      this.#timer = setTimeout(() => this.abort(new TimeoutError(id, timeoutMs)), timeoutMs)
    }
    void this.#callHandler().then((outcome) => this.#end(outcome))
  }

  /** Gives the job back unrun. Never rejects. */
  async release(): Promise<void> {
    try {
      if (await this.claim.settle(RELEASE)) this.#tellReleased()
      else this.#tellLost()
    } catch (error) {
      this.#tellUnsettled(error)
    }
  }

  abort(reason: PgqError): void {
    if (this.#abortReason) return
    this.#abortReason = reason
    this.#abort?.abort(reason)
    setTimeout(() => this.#goOnWithout(reason), HEED_MS).unref()
  }

  /** Decides for a handler that goes on after its abort. */
  #goOnWithout(reason: PgqError): void {
    if (!this.#isRunning) return
    this.host.events.emit('job.stuck', { ...this.label, abortedForMs: HEED_MS })
    this.#end({ type: 'error', error: reason })
  }

  /** The handler has ended, or was given up. */
  #end(outcome: Outcome): void {
    if (!this.#isRunning) return
    this.#isRunning = false
    clearTimeout(this.#timer)
    this.#durationMs = performance.now() - this.#start
    this.#settle(this.#judge(outcome))
    this.host.ended(this, this.#durationMs)
  }

  /** What the handler's end means, given how it was aborted and what it did to its transaction. */
  #judge(outcome: Outcome): Outcome {
    const reason = this.#abortReason
    if (outcome.type === 'success' && this.claim.isSpoiled?.()) return { type: 'error', error: new Error(SPOILED) }
    if (outcome.type !== 'success' && reason instanceof CancelledError) return { type: 'cancel', reason: CANCELLED }
    if (outcome.type === 'error' && reason instanceof TimeoutError) return { type: 'error', error: reason }
    return outcome
  }

  /** Writes what the outcome means, and tells it when it is durable. */
  #settle(outcome: Outcome): void {
    let ending: Ending
    try {
      ending = this.#endingOf(outcome)
    } catch (error) {
      // An outcome that an around of the user's own made up.
      this.#settle({ type: 'error', error })
      return
    }
    this.claim.settle(ending).then(
      (isOurs) => {
        if (!isOurs) this.#tellLost()
        else if (ending.kind === 'release') this.#tellReleased()
        else this.#tellSettled(ending, outcome)
        this.host.closed(this)
      },
      (error) => {
        if (error instanceof CommitRefused) return this.#settle({ type: 'error', error: error.cause })
        if (error instanceof FinishedAlready) return this.#settle(successInSpiteOf(outcome))
        this.#tellUnsettled(error)
        this.host.closed(this)
      },
    )
  }

  #endingOf(outcome: Outcome): Ending {
    const { mode } = this.host
    // An at-most-once job that has begun must not run again: it ends as failed.
    const goesBack = this.#abortReason instanceof WorkerStoppingError && outcome.type === 'error' && mode.mayRetry
    return goesBack ? RELEASE : decideSettlement(this.claim.job, outcome, this.handler.task.retry, mode)
  }

  #tellSettled(settlement: Settlement, outcome: Outcome): void {
    const { job } = this.claim
    const { mode, events, settled } = this.host
    const waitMs = Math.max(this.#startedAt - job.readyAt.getTime(), 0)
    const durationMs = this.#durationMs
    settled.add(mode.name, job, settlement, waitMs, durationMs)
    if (!events.has('job.settled')) return
    // Field by field: spreading the label costs 2 us.
    const { id: jobId, task, queue, attempt } = job
    const told = { jobId, task, queue, attempt, mode: mode.name, outcome, settlement, waitMs, durationMs }
    events.emit('job.settled', told)
  }

  #tellReleased(): void {
    this.host.events.emit('job.released', this.label)
  }

  #tellLost(): void {
    this.host.events.emit('job.lost', { ...this.label, error: new LostLeaseError(this.claim.job.id) })
  }

  #tellUnsettled(error: unknown): void {
    this.host.events.emit('job.unsettled', { ...this.label, error })
  }

  #callHandler(): Promise<Outcome> {
    const { handler, claim } = this
    const job = new HandledJob(claim.job, this)
    const { around } = this.host
    if (!around) return runHandler(handler, claim.job.args, job)
    return runAround(around, job, () => runHandler(handler, claim.job.args, job))
  }

  get maxAttempts(): number {
    return this.host.mode.mayRetry ? resolveRetry(this.handler.task.retry, this.claim.job.retry).maxAttempts : 1
  }

  /** The controller is made when somebody asks for the signal. */
  get signal(): AbortSignal {
    if (!this.#abort) {
      this.#abort = new AbortController()
      if (this.#abortReason) this.#abort.abort(this.#abortReason)
    }
    return this.#abort.signal
  }

  get finish(): Claim['finish'] {
    const { claim } = this
    return claim.finish && ((trx) => claim.finish!(trx))
  }

  get trx(): Claim['trx'] {
    return this.claim.trx
  }
}

async function runAround(around: Around, job: Job, next: () => Promise<Outcome>): Promise<Outcome> {
  try {
    const outcome = await around(job, next)
    if (isOutcome(outcome)) return outcome
    throw new InvalidOptionError('around answered no outcome: let it return what next() answers.')
  } catch (error) {
    return { type: 'error', error }
  }
}

const successInSpiteOf = (outcome: Outcome): Outcome => ({
  type: 'success',
  ...('error' in outcome && { error: outcome.error }),
})

const CANCELLED = 'It was cancelled while it ran.'

const SPOILED =
  'A statement failed inside job.trx and the handler went on: nothing of it can be committed. Let the error through, or use a savepoint.'
