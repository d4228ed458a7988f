import { EventEmitter } from 'node:events'
import {
  type DeliveryModeName,
  InvalidOptionError,
  type JobEnd,
  type LostLeaseError,
  type Outcome,
  optionNames,
  type Settlement,
  shown,
  unknownName,
} from '@pgq/core'

/** A job in an event: enough to find it, and nothing of its args. */
export interface JobLabel {
  readonly jobId: string
  readonly task: string
  readonly queue: string
  readonly attempt: number
  readonly mode: DeliveryModeName
}

/** A run whose end is durable. waitMs: ready to start; durationMs: the handler's run. */
export interface SettledRun {
  readonly end: JobEnd
  readonly waitMs: number
  readonly durationMs: number
}

/** What a worker tells, each after it is true. Durations in ms. */
export interface WorkerEvents {
  'worker.started': { readonly workerId: number; readonly queues: readonly string[]; readonly tasks: readonly string[] }
  'worker.stopping': { readonly workerId: number; readonly running: number }
  'worker.stopped': { readonly workerId: number }
  /** The others took this worker for dead; it goes on under a new id, without the jobs it had. */
  'worker.replaced': { readonly workerId: number; readonly newWorkerId: number }
  /** A handler blocked the event loop of the process for so long; a thread of the worker said meanwhile that it lives. */
  'worker.blocked': { readonly workerId: number; readonly blockedForMs: number }
  'jobs.claimed': { readonly mode: DeliveryModeName; readonly jobs: number; readonly durationMs: number }
  'job.started': JobLabel
  /** Emitted when the settlement is durable. waitMs: ready to start; durationMs: the handler's run. */
  'job.settled': JobLabel & {
    readonly outcome: Outcome
    readonly settlement: Settlement
    readonly waitMs: number
    readonly durationMs: number
  }
  /** The same for all runs of a task that were settled together, without what tells them apart: enough to count them, where job.settled costs each job 4 us of the 6.5 that one takes in all. */
  'jobs.settled': {
    readonly mode: DeliveryModeName
    readonly task: string
    readonly queue: string
    readonly runs: readonly SettledRun[]
  }
  /** Given back unrun or unfinished, its attempt not counted. */
  'job.released': JobLabel
  'job.lost': JobLabel & { readonly error: LostLeaseError }
  /**
   * The settlement could not be written: the job runs again, unless it was written and only the answer was lost. An at-most-once job is
   * lost: the database was away until the worker had stopped, or refused it for its data.
   */
  'job.unsettled': JobLabel & { readonly error: unknown }
  /** The handler goes on although its signal was aborted. */
  'job.stuck': JobLabel & { readonly abortedForMs: number }
  /** Ready jobs in this worker's queues that it has no handler for. */
  'tasks.unknown': { readonly tasks: readonly string[] }
  /** The jobs of a slot could not be enqueued: its cron expression is none, or the database refused them. It is tried again after a minute. */
  'schedule.failed': { readonly schedule: string; readonly error: unknown }
  'workers.rescued': { readonly workers: readonly number[]; readonly requeued: number; readonly buried: number }
  /**
   * The database, or a pooler in front of it, lacks something. locks: a lost worker is found by its silence alone, after leaseMs
   * instead of within a second. notify: jobs are found by polling, up to a second late. Or the process does: standIn: no thread can
   * say that the worker lives while a handler blocks the event loop, with the error that says why.
   */
  'capability.missed': { readonly capability: 'locks' | 'notify' | 'standIn'; readonly error?: Error }
  'listener.lost': { readonly error: unknown }
  'listener.restored': Record<string, never>
  'database.lost': { readonly error: unknown }
  'database.restored': { readonly downMs: number }
}

const NAMES = optionNames<WorkerEvents>({
  'worker.started': true,
  'worker.stopping': true,
  'worker.stopped': true,
  'worker.replaced': true,
  'worker.blocked': true,
  'jobs.claimed': true,
  'job.started': true,
  'job.settled': true,
  'jobs.settled': true,
  'job.released': true,
  'job.lost': true,
  'job.unsettled': true,
  'job.stuck': true,
  'tasks.unknown': true,
  'schedule.failed': true,
  'workers.rescued': true,
  'capability.missed': true,
  'listener.lost': true,
  'listener.restored': true,
  'database.lost': true,
  'database.restored': true,
})

/** Hands events to observers. An observer that throws or rejects is reported, and cannot disturb the work. */
export class Events {
  readonly #emitter = new EventEmitter<{ [Name in keyof WorkerEvents]: [WorkerEvents[Name]] }>()

  constructor(private readonly onObserverError: (error: unknown, event: string) => void) {}

  /** Throws InvalidOptionError for an event that does not exist, which JavaScript would listen to for ever, and an observer that is no function. */
  on<Name extends keyof WorkerEvents>(name: Name, observer: (event: WorkerEvents[Name]) => void): () => void {
    if (!NAMES.has(name)) throw unknownName('event', String(name), NAMES, 'worker.on')
    if (typeof observer !== 'function') {
      throw new InvalidOptionError(
        `worker.on(${JSON.stringify(name)}): the observer is ${shown(observer)}; give a function: (event) => ...`,
      )
    }
    const guarded = (event: WorkerEvents[Name]) => {
      try {
        const answer: unknown = observer(event)
        if (answer instanceof Promise) answer.catch((error) => this.#report(error, name))
      } catch (error) {
        this.#report(error, name)
      }
    }
    this.#emitter.on(name, guarded as never)
    return () => void this.#emitter.off(name, guarded as never)
  }

  /** True when somebody listens: spares building events nobody wants. */
  has(name: keyof WorkerEvents): boolean {
    return this.#emitter.listenerCount(name) > 0
  }

  emit<Name extends keyof WorkerEvents>(name: Name, event: WorkerEvents[Name]): void {
    this.#emitter.emit(name, ...([event] as never))
  }

  #report(error: unknown, event: string): void {
    try {
      this.onObserverError(error, event)
    } catch {} // the logger throws, too: there is nobody left to tell
  }
}
