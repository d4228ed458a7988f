import { beat, findUnknownTasks, promoteDueJobs, rescueLostWorkers } from '@pgq/core'
import type { Backoff } from './backoff.js'
import type { Connection } from './connection.js'
import { delay } from './delay.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'

const PROMOTE_LIMIT = 1_000
const BUSY_PROMOTE_MS = 250
const RESCUE_MS = 500
const UNKNOWN_TASKS_MS = 30_000

/** What the caretaker looks after. */
export interface Charge {
  readonly workerId: number
  readonly isIdle: boolean
  /** Jobs became ready, or came back: look for them. */
  jobsCameBack(): void
  /** The others took this worker for dead. */
  declaredDead(): Promise<void>
}

/** The work on a clock: promoting due jobs, the heartbeat, rescuing lost workers, and reporting tasks nobody here knows. */
export class Caretaker {
  #others = 0
  #timers = new AbortController()
  #nudge = new AbortController()
  #running: Promise<unknown> = Promise.resolve()
  #unknown = ''

  constructor(
    private readonly options: ResolvedOptions,
    private readonly connection: Connection,
    private readonly events: Events,
    private readonly backoff: Backoff,
    private readonly charge: Charge,
  ) {}

  /** Before the first claim: a job that took the last worker down must be counted before it runs again. */
  async rescueFirst(): Promise<void> {
    try {
      await this.#rescue()
    } catch (error) {
      this.backoff.failed(error)
    }
  }

  start(): void {
    this.#running = Promise.all([
      this.#every(() => this.#promote()),
      this.#every(() => this.#beat()),
      this.#every(() => this.#rescue()),
      this.#every(() => this.#reportUnknownTasks()),
    ])
  }

  async stop(): Promise<void> {
    this.#timers.abort()
    this.#nudge.abort()
    await this.#running
  }

  /** A delayed job may have come: look at the next due time again. */
  lookForDueJobs(): void {
    this.#nudge.abort()
  }

  /** A worker came: there is somebody to look after. */
  workerCame(): void {
    this.#others += 1
    this.#wakeRescue.abort()
  }

  #wakeRescue = new AbortController()

  /** Runs work again and again, each time after the ms that it answered; after a failure, when the backoff says. */
  async #every(work: () => Promise<{ ms: number; signal?: AbortSignal }>): Promise<void> {
    const { signal: stopped } = this.#timers
    while (!stopped.aborted) {
      try {
        const { ms, signal } = await work()
        this.backoff.succeeded()
        await delay(ms, signal ? AbortSignal.any([signal, stopped]) : stopped)
      } catch (error) {
        if (!stopped.aborted) await delay(this.backoff.failed(error), stopped)
      }
    }
  }

  async #promote(): Promise<{ ms: number; signal: AbortSignal }> {
    this.#nudge = new AbortController()
    const { signal } = this.#nudge
    const { schema, queues, pollMs } = this.options
    const { promoted, nextDueMs } = await promoteDueJobs(this.connection, schema, { queues, limit: PROMOTE_LIMIT })
    if (promoted > 0) this.charge.jobsCameBack()
    if (promoted === PROMOTE_LIMIT) return { ms: 0, signal }
    const patience = this.charge.isIdle ? pollMs : Math.min(pollMs, BUSY_PROMOTE_MS)
    return { ms: Math.min(Math.max(nextDueMs ?? patience, 1), patience), signal }
  }

  async #beat(): Promise<{ ms: number }> {
    const answer = await beat(this.connection, this.options.schema, this.charge.workerId)
    if (!answer) await this.charge.declaredDead()
    else this.#others = answer.others
    return { ms: this.options.leaseMs / 3 }
  }

  /** Once a second or so over all workers together, whatever their number; alone, only when somebody comes. */
  async #rescue(): Promise<{ ms: number; signal: AbortSignal }> {
    this.#wakeRescue = new AbortController()
    const { signal } = this.#wakeRescue
    const { schema, leaseMs, maxCrashes } = this.options
    const rescue = await rescueLostWorkers(this.connection, schema, {
      workerId: this.charge.workerId,
      leaseMs,
      maxCrashes,
    })
    if (rescue.workers.length > 0) {
      this.#others = Math.max(this.#others - rescue.workers.length, 0)
      this.events.emit('workers.rescued', rescue)
      this.charge.jobsCameBack()
    }
    const ms = this.#others === 0 ? leaseMs / 3 : RESCUE_MS * this.#others * (0.75 + Math.random() / 2)
    return { ms, signal }
  }

  async #reportUnknownTasks(): Promise<{ ms: number }> {
    const { schema, queues, handlers } = this.options
    const tasks = await findUnknownTasks(this.connection, schema, { queues, tasks: [...handlers.keys()] })
    const found = tasks.sort().join()
    if (found && found !== this.#unknown) this.events.emit('tasks.unknown', { tasks })
    this.#unknown = found
    return { ms: UNKNOWN_TASKS_MS }
  }
}
