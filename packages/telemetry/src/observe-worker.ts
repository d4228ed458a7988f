import { checkOptionNames, InvalidOptionError, optionNames } from '@pgq/core'
import type { ObservedEvents, ObservedJob, ObservedWorker } from './observed-worker.js'
import { type MetricsRegistry, registerMetrics } from './scraped-metric.js'
import { workerMetrics } from './worker-metrics.js'
import { type Connection, type Mishap, type WorkerState, WorkerTally } from './worker-tally.js'

/** Options of observeWorker. The buckets are those of the first worker of a registry. */
export interface ObserveWorkerOptions {
  readonly registry: MetricsRegistry
  /** Upper bounds of the buckets for how long handlers run, in seconds. Default: from 1 ms to 10 minutes. */
  readonly runBuckets?: readonly number[]
  /** The same for how long jobs wait. Default: from 5 ms to an hour. */
  readonly waitBuckets?: readonly number[]
}

const OPTIONS = optionNames<ObserveWorkerOptions>({ registry: true, runBuckets: true, waitBuckets: true })

const RUN_BUCKETS = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600]
const WAIT_BUCKETS = [0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600]

/**
 * Counts what a worker does from now on: call it before the worker starts. Workers that share a registry are counted together.
 * Labels are the worker's own queues and tasks, so there are no more of them than it was given. Answers how to stop
 * counting; what was counted stays. Throws InvalidOptionError, also when the registry counts this worker already.
 */
export function observeWorker(worker: ObservedWorker, options: ObserveWorkerOptions): () => void {
  checkOptionNames(options, OPTIONS, 'observeWorker')
  const tally = tallyOf(options)
  if ([...tally.workers].some((known) => known.worker === worker)) throw new InvalidOptionError(TWICE)
  const state: WorkerState = { worker, cutOff: new Set() }
  tally.workers.add(state)
  const offs = observersOf(tally, state).map((observe) => observe(worker))
  return () => {
    for (const off of offs) off()
    tally.workers.delete(state)
  }
}

const TWICE =
  'observeWorker: this registry counts this worker already, and would count each of its jobs twice. Call it once for each worker.'

const tallies = new WeakMap<MetricsRegistry, WorkerTally>()

function tallyOf({
  registry,
  runBuckets = RUN_BUCKETS,
  waitBuckets = WAIT_BUCKETS,
}: ObserveWorkerOptions): WorkerTally {
  const known = tallies.get(registry)
  if (known && registry.getSingleMetric('pgq_jobs_settled_total')) return known
  const tally = new WorkerTally({
    run: checkBuckets('runBuckets', runBuckets),
    wait: checkBuckets('waitBuckets', waitBuckets),
  })
  registerMetrics(registry, workerMetrics(tally))
  tallies.set(registry, tally)
  return tally
}

function checkBuckets(name: string, bounds: readonly number[]): readonly number[] {
  const isAscending = bounds.every((bound, place) => bound > (bounds[place - 1] ?? Number.NEGATIVE_INFINITY))
  if (bounds.length > 0 && isAscending && bounds.every(Number.isFinite)) return [...bounds]
  throw new InvalidOptionError(`${name} must be numbers of seconds, each over the one before: [0.1, 1, 10].`)
}

type Observe = (worker: ObservedWorker) => () => void

function observersOf(tally: WorkerTally, { cutOff }: WorkerState): Observe[] {
  const on =
    <Name extends keyof ObservedEvents>(name: Name, observer: (event: ObservedEvents[Name]) => void): Observe =>
    (worker) =>
      worker.on(name, observer)
  const met = (mishap: Mishap) => (job: ObservedJob) => {
    tally.seriesOf(job).mishaps[mishap] += 1
  }
  const lost = (connection: Connection) => () => {
    cutOff.add(connection)
    tally.outages[connection] += 1
  }
  return [
    on('jobs.claimed', (event) => tally.claimed(event)),
    on('jobs.settled', (event) => tally.settled(event)),
    on('job.released', met('released')),
    on('job.lost', met('lost')),
    on('job.unsettled', met('unsettled')),
    on('job.stuck', met('stuck')),
    on('workers.rescued', ({ workers, requeued, buried }) => {
      tally.rescues += workers.length
      tally.requeued += requeued
      tally.buried += buried
    }),
    on('worker.replaced', () => {
      tally.replacements += 1
    }),
    on('database.lost', lost('database')),
    on('listener.lost', lost('listener')),
    on('database.restored', () => void cutOff.delete('database')),
    on('listener.restored', () => void cutOff.delete('listener')),
    on('worker.stopped', () => cutOff.clear()),
  ]
}
