import type { DeliveryModeName, Executor, Handler, JobError } from '@pgq/core'

/** What runs jobs: a worker with a database, or an eager queue. */
export interface Harness {
  readonly mode: DeliveryModeName
  /** One slot, so that the order of jobs can be seen. Failures are recorded. */
  open(options: OpenOptions): Promise<Delivery>
}

export interface OpenOptions {
  readonly handlers: readonly Handler[]
  /** Default: the queues of the handlers' tasks. */
  readonly queues?: readonly string[]
}

/** A running worker or queue. */
export interface Delivery extends AsyncDisposable {
  /** What to enqueue on. */
  readonly target: Executor
  /** Its clock, in ms since the epoch: the database's, or a fake one. */
  now(): number
  /** Resolves when this many handler runs, counted from the start, are settled. */
  settled(runs: number): Promise<void>
  /** The jobs that are not completed, in the order of their enqueueing. */
  unfinished(): Promise<UnfinishedJob[]>
  /** Enqueues a job of a task that has no handler; answers the tasks that are then reported as unknown. */
  reportedUnknown(task: string): Promise<readonly string[]>
}

export interface UnfinishedJob {
  readonly id: string
  readonly task: string
  readonly state: 'waiting' | 'scheduled' | 'dead'
  readonly reason: string | null
  readonly attempts: number
  readonly errors: readonly JobError[]
  /** Until it may run, in ms; 0 when it may. */
  readonly dueInMs: number
}
