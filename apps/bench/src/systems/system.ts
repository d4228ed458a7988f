import type { DeliveryModeName } from '@pgq/core'

/** The servers that a run may use: a fresh database, and a Redis when there is one. */
export interface Place {
  readonly postgresUrl: string
  readonly redisUrl?: string | undefined
}

/** One job to write. Without the options: default queue, default priority, now. */
export interface NewJob {
  readonly args: object
  readonly queue?: string | undefined
  readonly priority?: number | undefined
  readonly delayMs?: number | undefined
}

/** What the load makes of each job. `query` runs on the job's own transaction; only transactional workers give it. */
export type Handler = (args: any, query?: (sql: string) => Promise<unknown>) => unknown

export interface WorkerOptions {
  readonly mode: DeliveryModeName
  readonly handler: Handler
  /** Handlers at the same time, where a scenario sets it; else the system's own value. */
  readonly concurrency?: number | undefined
}

export interface Producer {
  enqueue(args: object, priority?: number): Promise<unknown>
  /** One call for all, as large as the system takes it. */
  enqueueMany(jobs: readonly NewJob[]): Promise<unknown>
  /** Whether any job is waiting or not yet durably finished. */
  unfinished(): Promise<boolean>
  /** In place of the loop over enqueue(), for a program that brings its own. Answers how many were enqueued. */
  enqueueFor?(durationMs: number, inFlight: number): Promise<number>
  close(): Promise<void>
}

export interface Runner {
  stop(): Promise<void>
}

/** A queue as its users would write it; runs in a process of its own. */
export interface System {
  /** Makes its tables, or empties its store. */
  prepare(place: Place): Promise<void>
  producer(place: Place): Promise<Producer>
  /** Resolves when it works. */
  worker(place: Place, options: WorkerOptions): Promise<Runner>
  /** Waits like an idle worker to be woken by each enqueue, but takes nothing. */
  listen?(place: Place, onWake: () => void): Promise<Runner>
}

export const QUEUE = 'default'
export const TASK = 'bench'
