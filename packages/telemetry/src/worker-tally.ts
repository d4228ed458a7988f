import type { DeliveryModeName, JobEnd } from '@pgq/core'
import { BucketCounts } from './bucket-counts.js'
import type { ObservedEvents, ObservedJob, ObservedWorker } from './observed-worker.js'

export const ENDS: readonly JobEnd[] = ['completed', 'retried', 'snoozed', 'exhausted', 'failed', 'cancelled']

/** What a job may meet other than being settled. */
const MISHAPS = ['released', 'lost', 'unsettled', 'stuck'] as const
export type Mishap = (typeof MISHAPS)[number]

export const CONNECTIONS = ['database', 'listener'] as const
export type Connection = (typeof CONNECTIONS)[number]

/** The counts of one task in one queue and mode. */
export interface JobSeries {
  readonly labels: { readonly queue: string; readonly task: string; readonly mode: DeliveryModeName }
  readonly settled: Record<JobEnd, number>
  readonly mishaps: Record<Mishap, number>
  readonly run: BucketCounts
  readonly wait: BucketCounts
}

/** What one worker does at this moment. */
export interface WorkerState {
  readonly worker: ObservedWorker
  readonly cutOff: Set<Connection>
}

export interface Buckets {
  readonly run: readonly number[]
  readonly wait: readonly number[]
}

// A claim takes well under a second, or something is wrong.
const CLAIM_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5]

/** Everything that the workers of one registry have done, in plain numbers. */
export class WorkerTally {
  readonly workers = new Set<WorkerState>()
  readonly claims = new Map<DeliveryModeName, { jobs: number; readonly seconds: BucketCounts }>()
  readonly outages: Record<Connection, number> = zeros(CONNECTIONS)
  rescues = 0
  requeued = 0
  buried = 0
  replacements = 0
  readonly #series: JobSeries[] = []
  readonly #byName = new Map<DeliveryModeName, Map<string, Map<string, JobSeries>>>()

  constructor(private readonly buckets: Buckets) {}

  get series(): readonly JobSeries[] {
    return this.#series
  }

  claimed({ mode, jobs, durationMs }: ObservedEvents['jobs.claimed']): void {
    const claims = getOrAdd(this.claims, mode, () => ({ jobs: 0, seconds: new BucketCounts(CLAIM_BUCKETS) }))
    claims.jobs += jobs
    claims.seconds.observe(durationMs / 1_000)
  }

  settled({ runs, ...kind }: ObservedEvents['jobs.settled']): void {
    const series = this.seriesOf(kind)
    for (const { end, waitMs, durationMs } of runs) {
      series.settled[end] += 1
      series.run.observe(durationMs / 1_000)
      series.wait.observe(waitMs / 1_000)
    }
  }

  seriesOf({ mode, task, queue }: ObservedJob): JobSeries {
    const byTask = getOrAdd(this.#byName, mode, () => new Map<string, Map<string, JobSeries>>())
    const byQueue = getOrAdd(byTask, task, () => new Map<string, JobSeries>())
    return getOrAdd(byQueue, queue, () => this.#add({ queue, task, mode }))
  }

  #add(labels: JobSeries['labels']): JobSeries {
    const series: JobSeries = {
      labels,
      settled: zeros(ENDS),
      mishaps: zeros(MISHAPS),
      run: new BucketCounts(this.buckets.run),
      wait: new BucketCounts(this.buckets.wait),
    }
    this.#series.push(series)
    return series
  }
}

const zeros = <Name extends string>(names: readonly Name[]): Record<Name, number> =>
  Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>

function getOrAdd<Key, Value>(map: Map<Key, Value>, key: Key, make: () => Value): Value {
  const known = map.get(key)
  if (known !== undefined) return known
  const made = make()
  map.set(key, made)
  return made
}
