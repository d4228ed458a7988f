import { checkExecutor, checkOptionNames, type Executor, InvalidOptionError, optionNames, shown } from '@pgq/core'
import { backlog, countJobs, type JobCount, listWorkers, type QueueBacklog, type WorkerStatus } from '@pgq/monitor'
import { LabelLimit } from './label-limit.js'
import { type MetricDefinition, type MetricsRegistry, registerMetrics, type Sample } from './scraped-metric.js'
import { type Reading, SharedReading } from './shared-reading.js'

/** Options of queueMetrics. */
export interface QueueMetricsOptions {
  readonly registry: MetricsRegistry
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
  /** How long one look at the database serves all scrapes. Default 5,000. */
  readonly cacheMs?: number
  /** How long a scrape waits for it; after that it goes on without these metrics. Default 2,000. */
  readonly timeoutMs?: number
  /** The most series of one metric. What comes beyond is counted together as "(others)". Default 1,000. */
  readonly maxSeries?: number
  /** Told when the database could not be asked. */
  readonly onError?: (error: unknown) => void
}

const OPTIONS = optionNames<QueueMetricsOptions>({
  ...{ registry: true, schema: true, cacheMs: true, timeoutMs: true, maxSeries: true, onError: true },
})

/** What one look at the database finds. */
interface Queues {
  readonly backlog: readonly QueueBacklog[]
  readonly counts: readonly JobCount[]
  readonly workers: readonly WorkerStatus[]
}

/**
 * Adds what waits, what runs and who works to a registry, read from the database at each scrape. Let one process do it: all
 * would answer the same. While the database does not answer, pgq_queue_up is 0, the others have no value, and the
 * rest of the registry is scraped as ever. Answers how to take them out again. Throws InvalidOptionError.
 */
export function queueMetrics(executor: Executor, options: QueueMetricsOptions): () => void {
  checkExecutor(executor)
  checkOptionNames(options, OPTIONS, 'queueMetrics')
  const { registry, schema, maxSeries = 1_000, onError = () => {} } = options
  const times = { cacheMs: options.cacheMs ?? 5_000, timeoutMs: options.timeoutMs ?? 2_000 }
  for (const [name, value] of Object.entries({ ...times, maxSeries })) checkCount(name, value)
  const where = schema === undefined ? {} : { schema }
  const look = async (): Promise<Queues> => ({
    backlog: await backlog(executor, where),
    counts: await countJobs(executor, {}, where),
    workers: await listWorkers(executor, where),
  })
  return registerMetrics(registry, definitions(new SharedReading(look, times, onError), maxSeries))
}

function checkCount(name: string, value: number): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** 31) return
  throw new InvalidOptionError(`${name} is ${shown(value)}; use a whole number, 0 or more.`)
}

function definitions(reading: SharedReading<Queues>, maxSeries: number): MetricDefinition[] {
  const gauge = (name: string, help: string, samples: (queues: Queues) => Sample[], together = total) => {
    const limit = new LabelLimit(maxSeries, together)
    const read = async () => {
      const answer = await reading.get()
      return answer ? limit.apply(samples(answer.value)) : []
    }
    return { name, type: 'gauge', help, read } as const
  }
  const alone = (name: string, help: string, value: (answer: Reading<Queues>) => number | undefined) => {
    const read = async () => {
      const now = value(await reading.get())
      return now === undefined ? [] : [{ labels: {}, value: now }]
    }
    return { name, type: 'gauge', help, read } as const
  }
  return [
    alone('pgq_queue_up', '1 when the database could be asked.', (answer) => Number(answer !== undefined)),
    alone(
      'pgq_queue_read_seconds',
      'How long the questions to the database took.',
      (answer) => answer && answer.tookMs / 1_000,
    ),
    gauge('pgq_queue_jobs', 'Jobs by state: ready, scheduled, parked, running, dead.', ({ counts }) =>
      counts.map(({ queue, task, state, jobs }) => ({ labels: { queue, task, state }, value: jobs })),
    ),
    gauge('pgq_queue_ready_jobs', 'Jobs that could run now and that nobody has claimed.', ({ backlog }) =>
      backlog.map(({ queue, ready }) => ({ labels: { queue }, value: ready })),
    ),
    gauge(
      'pgq_queue_oldest_ready_seconds',
      'For how long the oldest of them could have been running.',
      ({ backlog }) =>
        backlog.map(({ queue, oldestReadyMs = 0 }) => ({ labels: { queue }, value: oldestReadyMs / 1_000 })),
      Math.max,
    ),
    gauge('pgq_queue_unclaimable_jobs', 'Ready jobs that no registered worker has a handler for.', unclaimable),
    gauge(
      'pgq_queue_workers',
      'Registered workers that serve the queue.',
      ({ backlog }) => backlog.map(({ queue, workers }) => ({ labels: { queue }, value: workers })),
      Math.max,
    ),
    gauge('pgq_workers', 'Registered workers, by whether they have anything to do.', ({ workers }) => {
      const idle = workers.filter((worker) => worker.idle).length
      return [
        { labels: { state: 'idle' }, value: idle },
        { labels: { state: 'busy' }, value: workers.length - idle },
      ]
    }),
  ]
}

function unclaimable({ backlog, counts, workers }: Queues): Sample[] {
  const byQueue = new Map(backlog.map(({ queue }) => [queue, 0]))
  for (const { queue, task, state, jobs } of counts) {
    if (state !== 'ready') continue
    const isKnown = workers.some((worker) => worker.queues.includes(queue) && worker.tasks.includes(task))
    byQueue.set(queue, (byQueue.get(queue) ?? 0) + (isKnown ? 0 : jobs))
  }
  return [...byQueue].map(([queue, value]) => ({ labels: { queue }, value }))
}

const total = (...values: number[]): number => values.reduce((sum, value) => sum + value, 0)
