import {
  type Executor,
  InvalidOptionError,
  optionNames,
  type RawBuilder,
  type StatementParts,
  shown,
  sql,
} from '@pgq/core'
import { type Histogram, type Percentiles, percentilesOf } from './percentiles.js'
import { checkCall, dateOf, defineQuestion, type JobsFilter, type MonitorOptions, matches } from './question.js'

/** Which time. Workers keep minutes for two hours, five minutes for a day, then hours for 30 days. */
export interface StatisticsRequest extends JobsFilter {
  /** By the caller's clock. Default: `lastMs` before `until`. */
  readonly since?: Date
  /** In place of `since`: so many ms before `until`, by the database's clock. Default 3,600,000 (an hour). */
  readonly lastMs?: number
  /** Default: now, by the database's clock. */
  readonly until?: Date
}

const TASK_OPTIONS = optionNames<StatisticsRequest>({ queue: true, task: true, since: true, lastMs: true, until: true })
const STEP_OPTIONS: ReadonlySet<string> = new Set([...TASK_OPTIONS, 'stepMs'])

/** How jobs ended in some time. */
export interface JobsEnded {
  readonly completed: number
  /** Failed attempts that are tried again. */
  readonly retried: number
  /** Put off by their handlers; no attempt counted. */
  readonly snoozed: number
  /** Dead letters, by reason. */
  readonly dead: {
    readonly exhausted: number
    readonly failed: number
    readonly cancelled: number
    readonly crashed: number
  }
  /** Runs that ended with their worker: killed, crashed or cut off. */
  readonly lost: number
  /** From when they could run to their start. Absent when nothing ran. */
  readonly waitMs?: Percentiles
  /** How long handlers ran. Absent when nothing ran. */
  readonly runMs?: Percentiles
}

/** One step of a chart: from `at` for as long as a step is. */
export interface StatisticsStep extends JobsEnded {
  readonly at: Date
}

/** Throughput, failures, wait and run time, step by step. */
export interface Statistics {
  readonly stepMs: number
  /** Without gaps: a step in which nothing ended has zeroes. The last one may still be filling. */
  readonly steps: readonly StatisticsStep[]
  /** All steps together. */
  readonly total: JobsEnded
}

/** What became of one task's jobs in one queue. */
export interface TaskStatistics extends JobsEnded {
  readonly queue: string
  readonly task: string
}

const MINUTE_MS = 60_000
const FIVE_MINUTES_MS = 300_000
const HOUR_MS = 3_600_000
const DAY_MS = 86_400_000
const MAX_STEPS = 1_500
/** Ten years: more than is kept, and what every instant can bear. */
const MAX_LAST_MS = 315_576_000_000

/** How long the finer grains are kept, and the next one. */
const KEPT = [
  { forMs: DAY_MS, grainMs: HOUR_MS, why: 'It begins more than a day ago, where only hours are kept' },
  {
    forMs: 2 * HOUR_MS,
    grainMs: FIVE_MINUTES_MS,
    why: 'It begins more than two hours ago, where minutes are no longer kept',
  },
]

/**
 * Adds up how jobs ended, in steps of `stepMs` (whole minutes; default one) from `since`, or `lastMs` before, to `until`. Both are widened to whole
 * steps. Workers write every few seconds: the newest jobs are missing for that long. Throws InvalidOptionError when there
 * were more than 1,500 steps, or steps shorter than what is kept of that time.
 */
export async function statistics(
  executor: Executor,
  request: StatisticsRequest & { readonly stepMs?: number } = {},
  options: MonitorOptions = {},
): Promise<Statistics> {
  checkCall('statistics', request, STEP_OPTIONS, options)
  checkTime(request)
  const { stepMs = MINUTE_MS } = request
  checkSteps(stepMs, request)
  const rows = await askSteps(executor, options, paramsOf(request, stepMs))
  return {
    stepMs,
    steps: rows.map((row) => ({ at: dateOf(row.atMs), ...jobsEnded([row]) })),
    total: jobsEnded(rows),
  }
}

/** The same, by queue and task in place of steps: those with the most ends first. */
export async function statisticsByTask(
  executor: Executor,
  request: StatisticsRequest = {},
  options: MonitorOptions = {},
): Promise<TaskStatistics[]> {
  checkCall('statisticsByTask', request, TASK_OPTIONS, options)
  checkTime(request)
  const rows = await askTasks(executor, options, paramsOf(request, MINUTE_MS))
  return rows.map((row) => ({ queue: row.queue, task: row.task, ...jobsEnded([row]) }))
}

function checkTime({ since, lastMs, until }: StatisticsRequest): void {
  if (since !== undefined && lastMs !== undefined) throw new InvalidOptionError('Give since or lastMs, not both.')
  if (lastMs !== undefined && !(typeof lastMs === 'number' && lastMs > 0 && lastMs <= MAX_LAST_MS))
    throw new InvalidOptionError(`lastMs is ${shown(lastMs)}; use milliseconds over 0, up to ${MAX_LAST_MS}.`)
  for (const [name, instant] of Object.entries({ since, until })) {
    if (instant === undefined || (instant instanceof Date && !Number.isNaN(instant.getTime()))) continue
    throw new InvalidOptionError(`${name} is ${shown(instant)}; use a valid Date.`)
  }
}

function checkSteps(stepMs: number, { since, lastMs = HOUR_MS, until }: StatisticsRequest): void {
  if (!Number.isInteger(stepMs / MINUTE_MS) || stepMs < MINUTE_MS)
    throw new InvalidOptionError(`stepMs is ${shown(stepMs)}; use whole minutes: a multiple of 60000.`)
  const end = until?.getTime() ?? Date.now()
  const start = since?.getTime() ?? end - lastMs
  if (!(start < end)) throw new InvalidOptionError('since must be before until.')
  if ((end - start) / stepMs > MAX_STEPS)
    throw new InvalidOptionError(
      `That were more than ${MAX_STEPS} steps of ${stepMs} ms: make stepMs larger, or begin later.`,
    )
  const kept = KEPT.find(({ forMs, grainMs }) => start < Date.now() - forMs - MINUTE_MS && stepMs % grainMs !== 0)
  if (kept) throw new InvalidOptionError(`${kept.why}: let stepMs be a multiple of ${kept.grainMs}.`)
}

const paramsOf = (
  { queue, task, since, lastMs = HOUR_MS, until }: StatisticsRequest,
  stepMs: number,
): StatisticsParams => ({
  queue: queue ?? null,
  task: task ?? null,
  sinceMs: since?.getTime() ?? null,
  lastMs,
  untilMs: until?.getTime() ?? null,
  stepMs,
})

function jobsEnded(rows: readonly EndedRow[]): JobsEnded {
  const sum = (name: Count) => rows.reduce((total, row) => total + row[name], 0)
  const waitMs = percentilesOf(rows.flatMap(({ waits }) => waits))
  const runMs = percentilesOf(rows.flatMap(({ runs }) => runs))
  return {
    completed: sum('completed'),
    retried: sum('retried'),
    snoozed: sum('snoozed'),
    dead: {
      exhausted: sum('exhausted'),
      failed: sum('failed'),
      cancelled: sum('cancelled'),
      crashed: sum('crashed'),
    },
    lost: sum('lost'),
    ...(waitMs && { waitMs }),
    ...(runMs && { runMs }),
  }
}

const COUNTS = ['completed', 'retried', 'snoozed', 'exhausted', 'failed', 'cancelled', 'crashed', 'lost'] as const
type Count = (typeof COUNTS)[number]

type EndedRow = Record<Count, number> & { waits: Histogram; runs: Histogram }

interface StatisticsParams {
  readonly queue: string | null
  readonly task: string | null
  readonly sinceMs: number | null
  readonly lastMs: number
  readonly untilMs: number | null
  readonly stepMs: number
}

const sums = sql.join(COUNTS.map((name) => sql`sum(${sql.ref(name)}) as ${sql.ref(name)}`))
const sumsOrZero = sql.join(COUNTS.map((name) => sql`coalesce(${sql.ref(name)}, 0) as ${sql.ref(name)}`))

/** The wanted time in whole steps, and the rows in it, each with the step that it belongs to. */
const rowsInSteps = ({ table, param }: StatementParts<StatisticsParams>): RawBuilder<unknown> => sql`
  asked as (
    select
      ${param('stepMs')}::double precision as step,
      coalesce(${param('untilMs')}::double precision, extract(epoch from statement_timestamp()) * 1000) as until
  ), span as (
    select
      step, floor(coalesce(${param('sinceMs')}::double precision, until - ${param('lastMs')}::double precision) / step) * step as since,
      ceil(until / step) * step as until
    from asked
  ), stat as (
    select floor(extract(epoch from stat.begun_at) * 1000 / span.step)::double precision * span.step as at_ms, stat.*
    from span
    join ${table('job_stats')} as stat
      on stat.begun_at >= to_timestamp(span.since / 1000) and stat.begun_at < to_timestamp(span.until / 1000)
    where ${matches('stat', param)}
  )`

/** The histograms of `stat`, added up by the columns `key`, each as one JSON array of [bucket, count]. */
const histogram = (name: 'wait' | 'run', key: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  select ${key}, json_agg(json_build_array(bucket, jobs)) as entries
  from (
    select ${key}, bucket, sum(jobs) as jobs
    from stat
    cross join lateral unnest(stat.${sql.id(`${name}_buckets`)}, stat.${sql.id(`${name}_counts`)}) as entry (bucket, jobs)
    group by ${key}, bucket
  ) as entry
  group by ${key}`

const askSteps = defineQuestion<StatisticsParams, EndedRow & { atMs: number }>('statistics', (parts) => {
  const key = sql.ref('at_ms')
  return sql`
    with ${rowsInSteps(parts)}
    select
      at_ms as "atMs", ${sumsOrZero}, coalesce(wait.entries, '[]') as waits, coalesce(run.entries, '[]') as runs
    from span
    cross join lateral (
      select span.since + place * span.step as at_ms
      from generate_series(0, ((span.until - span.since) / span.step)::integer - 1) as series (place)
    ) as step
    left join (select at_ms, ${sums} from stat group by at_ms) as summed using (at_ms)
    left join (${histogram('wait', key)}) as wait using (at_ms)
    left join (${histogram('run', key)}) as run using (at_ms)
    order by at_ms`
})

const askTasks = defineQuestion<StatisticsParams, EndedRow & { queue: string; task: string }>(
  'statistics_by_task',
  (parts) => {
    const key = sql`queue, task`
    return sql`
      with ${rowsInSteps(parts)}
      select
        queue, task, ${sumsOrZero}, coalesce(wait.entries, '[]') as waits, coalesce(run.entries, '[]') as runs
      from (select ${key}, ${sums} from stat group by ${key}) as summed
      left join (${histogram('wait', key)}) as wait using (${key})
      left join (${histogram('run', key)}) as run using (${key})
      order by completed + retried + snoozed + exhausted + failed + cancelled + crashed desc, queue, task`
  },
)
