import type { MetricDefinition, Sample } from './scraped-metric.js'
import { CONNECTIONS, ENDS, type JobSeries, type Mishap, type WorkerTally } from './worker-tally.js'

/** The metrics of a process's workers, and how each is read. Seconds, as Prometheus wants it. */
export function workerMetrics(tally: WorkerTally): MetricDefinition[] {
  const perSeries = (read: (series: JobSeries) => number) => () =>
    tally.series.map((series) => ({ labels: series.labels, value: read(series) }))
  const mishap = (kind: Mishap, help: string): MetricDefinition => ({
    name: `pgq_jobs_${kind}_total`,
    type: 'counter',
    help,
    read: perSeries(({ mishaps }) => mishaps[kind]),
  })
  return [
    {
      name: 'pgq_jobs_settled_total',
      type: 'counter',
      help: 'Runs of jobs whose end is durable, by what became of the job.',
      read: () => tally.series.flatMap(settledSamples),
    },
    {
      name: 'pgq_job_run_seconds',
      type: 'histogram',
      help: 'How long handlers ran.',
      read: () => tally.series.flatMap(({ run, labels }) => run.samples('pgq_job_run_seconds', labels)),
    },
    {
      name: 'pgq_job_wait_seconds',
      type: 'histogram',
      help: 'How long jobs could have run before they did.',
      read: () => tally.series.flatMap(({ wait, labels }) => wait.samples('pgq_job_wait_seconds', labels)),
    },
    {
      name: 'pgq_jobs_running',
      type: 'gauge',
      help: 'Jobs whose handler runs in this process.',
      read: () => runningSamples(tally),
    },
    mishap('released', 'Jobs given back unrun or unfinished, their attempt not counted.'),
    mishap('lost', 'Jobs that were given to another worker while they ran here; their results were dropped.'),
    mishap('unsettled', 'Runs whose end could not be written; the job runs again.'),
    mishap('stuck', 'Handlers that went on although their signal was aborted.'),
    {
      name: 'pgq_jobs_claimed_total',
      type: 'counter',
      help: 'Jobs claimed.',
      read: () => [...tally.claims].map(([mode, { jobs }]) => ({ labels: { mode }, value: jobs })),
    },
    {
      name: 'pgq_claim_seconds',
      type: 'histogram',
      help: 'How long a claim took that found jobs.',
      read: () => [...tally.claims].flatMap(([mode, { seconds }]) => seconds.samples('pgq_claim_seconds', { mode })),
    },
    {
      name: 'pgq_worker_rescues_total',
      type: 'counter',
      help: 'Lost workers that this process found and whose jobs it rescued.',
      read: () => [{ labels: {}, value: tally.rescues }],
    },
    {
      name: 'pgq_jobs_rescued_total',
      type: 'counter',
      help: 'Jobs of lost workers, by whether they wait again or are dead letters.',
      read: () => [
        { labels: { outcome: 'requeued' }, value: tally.requeued },
        { labels: { outcome: 'buried' }, value: tally.buried },
      ],
    },
    {
      name: 'pgq_worker_replacements_total',
      type: 'counter',
      help: 'How often others took a worker of this process for dead.',
      read: () => [{ labels: {}, value: tally.replacements }],
    },
    {
      name: 'pgq_worker_outages_total',
      type: 'counter',
      help: 'How often a worker lost its database, or the connection that listens for new jobs.',
      read: () => CONNECTIONS.map((connection) => ({ labels: { connection }, value: tally.outages[connection] })),
    },
    {
      name: 'pgq_workers_disconnected',
      type: 'gauge',
      help: 'Workers of this process that are without it now.',
      read: () =>
        CONNECTIONS.map((connection) => ({
          labels: { connection },
          value: sum([...tally.workers], ({ cutOff }) => Number(cutOff.has(connection))),
        })),
    },
  ]
}

const settledSamples = ({ labels, settled }: JobSeries): Sample[] =>
  ENDS.map((outcome) => ({ labels: { ...labels, outcome }, value: settled[outcome] }))

/** With a 0 for every series that is known: a gauge that comes and goes cannot be drawn. */
function runningSamples(tally: WorkerTally): Sample[] {
  const running = new Map<JobSeries, number>()
  for (const { worker } of tally.workers) {
    for (const job of worker.running) {
      const series = tally.seriesOf(job)
      running.set(series, (running.get(series) ?? 0) + 1)
    }
  }
  return tally.series.map((series) => ({ labels: series.labels, value: running.get(series) ?? 0 }))
}

const sum = <Value>(values: readonly Value[], numberOf: (value: Value) => number): number =>
  values.reduce((total, value) => total + numberOf(value), 0)
