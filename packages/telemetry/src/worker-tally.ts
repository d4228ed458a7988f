import type { DeliveryModeName } from '@pgq/core'
import { BucketCounts } from './bucket-counts.js'
import type { ObservedEvents, ObservedJob } from './observed-worker.js'

/** What became of a job: finished; to run again, after a failure or because it asked for it; or dead, by the reason. */
export const OUTCOMES = ['completed', 'retried', 'snoozed', 'exhausted', 'failed', 'cancelled', 'crashed'] as const
export type SettledOutcome = (typeof OUTCOMES)[number]

/** What a job may meet other than being settled. */
export const MISHAPS = ['released', 'lost', 'unsettled', 'stuck'] as const
export type Mishap = (typeof MISHAPS)[number]

export const CONNECTIONS = ['database', 'listener'] as const
export type Connection = (typeof CONNECTIONS)[number]

/** The counts of one task in one queue and mode. */
export interface JobSeries {
  readonly labels: { readonly queue: string; readonly task: string; readonly mode: DeliveryModeName }
  readonly settled: Record<SettledOutcome, number>
  readonly mishaps: Record<Mishap, number>
  readonly run: BucketCounts
  readonly wait: BucketCounts
}

/** What one worker does at this moment. */
export interface WorkerState {
  /** By job id: more than the events tell is not needed to know when one ends. */
  readonly running: Map<string, JobSeries>
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
  #last: JobSeries | undefined
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

  settled(event: ObservedEvents['job.settled']): void {
    const series = this.seriesOf(event)
    series.settled[outcomeOf(event)] += 1
    series.run.observe(event.durationMs / 1_000)
    series.wait.observe(event.waitMs / 1_000)
  }

  /** Mostly the one of the job before; else found by three looks in a map: a text of the three names would cost more. */
  seriesOf({ mode, task, queue }: ObservedJob): JobSeries {
    const last = this.#last?.labels
    if (last?.task === task && last.queue === queue && last.mode === mode) return this.#last!
    const byTask = getOrAdd(this.#byName, mode, () => new Map<string, Map<string, JobSeries>>())
    const byQueue = getOrAdd(byTask, task, () => new Map<string, JobSeries>())
    this.#last = getOrAdd(byQueue, queue, () => this.#add({ queue, task, mode }))
    return this.#last
  }

  #add(labels: JobSeries['labels']): JobSeries {
    const series: JobSeries = {
      labels,
      settled: zeros(OUTCOMES),
      mishaps: zeros(MISHAPS),
      run: new BucketCounts(this.buckets.run),
      wait: new BucketCounts(this.buckets.wait),
    }
    this.#series.push(series)
    return series
  }
}

function outcomeOf({ settlement, outcome }: ObservedEvents['job.settled']): SettledOutcome {
  if (settlement.kind === 'complete') return 'completed'
  if (settlement.kind === 'bury') return settlement.reason
  return outcome.type === 'snooze' ? 'snoozed' : 'retried'
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
