import type { DeliveryModeName, JobEnd } from '@pgq/core'

/** What kind of job an event is about. */
export interface ObservedJob {
  readonly task: string
  readonly queue: string
  readonly mode: DeliveryModeName
}

/** A run whose end is durable. */
export interface ObservedRun {
  readonly end: JobEnd
  readonly waitMs: number
  readonly durationMs: number
}

/** The events of a worker that are counted. Durations in ms. */
export interface ObservedEvents {
  'worker.stopped': object
  'worker.replaced': object
  'jobs.claimed': { readonly mode: DeliveryModeName; readonly jobs: number; readonly durationMs: number }
  'jobs.settled': ObservedJob & { readonly runs: readonly ObservedRun[] }
  'job.released': ObservedJob
  'job.lost': ObservedJob
  'job.unsettled': ObservedJob
  'job.stuck': ObservedJob
  'workers.rescued': { readonly workers: readonly number[]; readonly requeued: number; readonly buried: number }
  'listener.lost': object
  'listener.restored': object
  'database.lost': object
  'database.restored': object
}

/** A worker of @pgq/worker, as far as it is observed: this package does not depend on that one. */
export interface ObservedWorker {
  /** The jobs whose handlers run now. */
  readonly running: readonly ObservedJob[]
  on<Name extends keyof ObservedEvents>(name: Name, observer: (event: ObservedEvents[Name]) => void): () => void
}
