import type { DeliveryModeName, Outcome, Settlement } from '@pgq/core'

/** What tells one job from another in a worker's events. */
export interface ObservedJob {
  readonly jobId: string
  readonly task: string
  readonly queue: string
  readonly mode: DeliveryModeName
}

/** The events of a worker that are counted. Durations in ms. */
export interface ObservedEvents {
  'worker.stopped': object
  'worker.replaced': object
  'jobs.claimed': { readonly mode: DeliveryModeName; readonly jobs: number; readonly durationMs: number }
  'job.started': ObservedJob
  'job.settled': ObservedJob & {
    readonly outcome: Outcome
    readonly settlement: Settlement
    readonly waitMs: number
    readonly durationMs: number
  }
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
  on<Name extends keyof ObservedEvents>(name: Name, observer: (event: ObservedEvents[Name]) => void): () => void
}
