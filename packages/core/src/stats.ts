import { type RawBuilder, sql } from 'kysely'
import type { Executor } from './executor.js'
import { defineStatement } from './statement.js'

/**
 * How a run ended. retried: failed, to be tried again; snoozed: put off by its handler, no attempt counted. Dead: exhausted, attempts
 * used up; failed for good; cancelled. A crash is told by who rescues the job.
 */
export type JobEnd = 'completed' | 'retried' | 'snoozed' | 'exhausted' | 'failed' | 'cancelled'

/** How jobs of one task in one queue ended, counted. */
export interface JobStats extends Readonly<Record<JobEnd, number>> {
  readonly queue: string
  readonly task: string
  /** How many waited how long for their start: count by bucketOf(ms). */
  readonly waits: ReadonlyMap<number, number>
  /** How many ran how long. */
  readonly runs: ReadonlyMap<number, number>
}

const BUCKETS_PER_DOUBLING = 4
const FIRST_EXPONENT = -4
const LAST_BUCKET = 36 * BUCKETS_PER_DOUBLING

/**
 * The bucket of a duration. Bucket 0 ends at 1/16 ms, each following one 19 % later (four to a doubling), the last one at 49
 * days. They never change, so that counts of any workers and minutes add up.
 */
export function bucketOf(ms: number): number {
  const bucket = Math.ceil((Math.log2(ms) - FIRST_EXPONENT) * BUCKETS_PER_DOUBLING)
  return bucket > 0 ? Math.min(bucket, LAST_BUCKET) : 0
}

/** The longest duration of a bucket, in ms. */
export const bucketEndMs = (bucket: number): number => 2 ** (bucket / BUCKETS_PER_DOUBLING + FIRST_EXPONENT)

/** Appends what a worker counted since it last did, under the present minute of the server. Rows are never updated. */
export async function recordStats(executor: Executor, schema: string, stats: readonly JobStats[]): Promise<void> {
  const rows = stats.map(({ waits, runs, ...counts }) => ({
    ...counts,
    wait_buckets: [...waits.keys()],
    wait_counts: [...waits.values()],
    run_buckets: [...runs.keys()],
    run_counts: [...runs.values()],
  }))
  await recordStatement(executor, schema, { stats: JSON.stringify(rows) })
}

const counts = sql`completed, retried, snoozed, exhausted, failed, cancelled`
const histograms = sql`wait_buckets, wait_counts, run_buckets, run_counts`

const recordStatement = defineStatement<{ stats: string }, never>(
  'record_stats',
  ({ table, param }) => sql`
    insert into ${table('job_stats')} (queue, task, ${counts}, ${histograms})
    select queue, task, ${counts}, ${histograms}
    from json_to_recordset(${param('stats')}::json) as counted (
      queue text, task text, completed integer, retried integer, snoozed integer, exhausted integer, failed integer,
      cancelled integer, wait_buckets smallint[], wait_counts integer[], run_buckets smallint[], run_counts integer[]
    )`,
)

/**
 * Adds up what is past: rows of workers become one row per minute, queue and task; minutes older than two hours become five
 * minutes each; those older than a day become hours; hours older than 30 days are removed. Answers how many rows it took; when that is STATS_BATCH there may be more. Two that
 * compact at the same time take different rows, which may leave two rows where one would do: readers add them up anyway.
 */
export async function compactStats(executor: Executor, schema: string): Promise<number> {
  const [row] = await compactStatement(executor, schema, {})
  return row!.taken
}

/** The most rows that one compaction takes. */
export const STATS_BATCH = 1_000

/** The five minutes that an instant is in. Source: a day of minutes of 20 tasks takes 130 ms to add up, this 40. */
const fiveMinutes = (instant: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`date_bin('5 minutes', ${instant}, timestamptz 'epoch')`

const compactStatement = defineStatement<object, { taken: number }>('compact_stats', ({ table }) => {
  const histogram = (name: 'wait' | 'run') => sql`
    select begun_at, grain, queue, task, array_agg(bucket) as buckets, array_agg(jobs) as jobs
    from (
      select begun_at, grain, queue, task, bucket, sum(jobs)::integer as jobs
      from past cross join lateral unnest(past.${sql.id(`${name}_buckets`)}, past.${sql.id(`${name}_counts`)}) as entry (bucket, jobs)
      group by begun_at, grain, queue, task, bucket
    ) as entry
    group by begun_at, grain, queue, task`
  return sql`
    with taken as (
      delete from ${table('job_stats')}
      where id in (
        select id from ${table('job_stats')}
        where grain = 'part' and begun_at < date_trunc('minute', now(), 'UTC')
          or grain = 'minute' and begun_at < ${fiveMinutes(sql`now() - interval '2 hours'`)}
          or grain = 'five minutes' and begun_at < date_trunc('hour', now() - interval '1 day', 'UTC')
          or begun_at < now() - interval '30 days'
        limit ${sql.lit(STATS_BATCH)}
        for update skip locked
      )
      returning *
    ), past as (
      select
        case grain
          when 'part' then begun_at
          when 'minute' then ${fiveMinutes(sql`begun_at`)}
          else date_trunc('hour', begun_at, 'UTC')
        end as begun_at,
        case grain when 'part' then 'minute' when 'minute' then 'five minutes' else 'hour' end as grain,
        queue, task, ${counts}, crashed, lost, ${histograms}
      from taken
      where begun_at >= now() - interval '30 days'
    ), summed as (
      select
        begun_at, grain, queue, task, sum(completed) as completed, sum(retried) as retried, sum(snoozed) as snoozed,
        sum(exhausted) as exhausted, sum(failed) as failed, sum(cancelled) as cancelled, sum(crashed) as crashed, sum(lost) as lost
      from past
      group by begun_at, grain, queue, task
    ), kept as (
      insert into ${table('job_stats')} (begun_at, grain, queue, task, ${counts}, crashed, lost, ${histograms})
      select
        begun_at, grain, queue, task, ${counts}, crashed, lost,
        coalesce(wait.buckets, '{}'), coalesce(wait.jobs, '{}'), coalesce(run.buckets, '{}'), coalesce(run.jobs, '{}')
      from summed
      left join (${histogram('wait')}) as wait using (begun_at, grain, queue, task)
      left join (${histogram('run')}) as run using (begun_at, grain, queue, task)
    )
    select count(*)::integer as taken from taken`
})
