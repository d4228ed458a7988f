import type { DeadReason, Executor, JobError, NewJob } from '@pgq/core'

/** waiting: may run now; scheduled: waits for its time, or for its retry. */
export type EagerJobState = 'waiting' | 'scheduled' | 'running' | 'completed' | 'dead'

/** A job of an eager queue, as it is now: it changes while the queue works. */
export interface EagerJob<Args = unknown> {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  /** As the handler sees them: after the round trip through JSON and the task's schema. Args that it refuses: without it. */
  readonly args: Args
  readonly state: EagerJobState
  /** Why it is dead; null when it is not. */
  readonly reason: DeadReason | null
  /** Handler runs so far. Snoozes do not count. */
  readonly attempts: number
  /** One for each failed attempt, oldest first; the newest 20. */
  readonly errors: readonly JobError[]
  readonly createdAt: Date
  /** Not before this instant, by the queue's clock; null when the job does not wait for one. */
  readonly executeAt: Date | null
}

/** A job and what its row would hold beside it. */
export interface Entry {
  readonly job: { -readonly [Key in keyof EagerJob]: EagerJob[Key] }
  argsText: string
  retry: NewJob['retry']
  meta: NewJob['meta']
  /** What it was enqueued on. */
  readonly executor: Executor
  /** Its place among the ready jobs of its priority. */
  position: number
  readyAt: number
  /** The handler of the present attempt called job.finish(). */
  finished: boolean
}
