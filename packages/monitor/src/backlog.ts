import { checkOptionNames, type Executor, jobRank, optionNames, type RawBuilder, sql } from '@pgq/core'
import { type CountParams, type CountRequest, countParams, countsByState } from './estimate.js'
import { dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'

/** What waits in one queue. */
export interface QueueBacklog {
  readonly queue: string
  /** Jobs that could run now and that nobody has claimed. */
  readonly ready: number
  /** Jobs that wait for their time. */
  readonly scheduled: number
  /** Jobs that wait for others of their concurrency key to end. */
  readonly parked: number
  /** False: ready, scheduled and parked are estimates, from a part of a large table. */
  readonly exact: boolean
  /**
   * For how many ms the oldest ready job could have been running. Absent when none is ready. In a large table, the first job of
   * each priority is looked at.
   */
  readonly oldestReadyMs?: number
  /** When the first scheduled job is due; an instant in the past while no worker has promoted it. Absent when none is scheduled. */
  readonly nextScheduledAt?: Date
  /** Since when the queue is paused: nothing of it is claimed. Absent when it is not. */
  readonly pausedAt?: Date
  /** Workers that serve this queue. Zero beside a growing backlog says why. */
  readonly workers: number
}

const OPTIONS = optionNames<MonitorOptions & Pick<CountRequest, 'exact'>>({ schema: true, exact: true })

/**
 * The backlog of every queue that has a waiting job or a worker, or is paused, ordered by name. Tables beyond 4 MB are estimated, unless
 * `exact` is asked for: then every row is read.
 */
export async function backlog(
  executor: Executor,
  options: MonitorOptions & Pick<CountRequest, 'exact'> = {},
): Promise<QueueBacklog[]> {
  checkOptionNames(options, OPTIONS, 'backlog')
  const { exact = false, ...where } = options
  const rows = await askBacklog(executor, where, countParams({ exact }))
  return rows.map(({ oldestReadyMs, nextScheduledAt, pausedAt, ...rest }) => ({
    ...rest,
    ...(oldestReadyMs !== null && { oldestReadyMs }),
    ...(nextScheduledAt !== null && { nextScheduledAt: dateOf(nextScheduledAt) }),
    ...(pausedAt !== null && { pausedAt: dateOf(pausedAt) }),
  }))
}

interface BacklogRow extends Omit<QueueBacklog, 'oldestReadyMs' | 'nextScheduledAt' | 'pausedAt'> {
  oldestReadyMs: number | null
  nextScheduledAt: EpochMs | null
  pausedAt: EpochMs | null
}

/** The most priorities of all queues together whose first jobs are looked at. */
const MAX_PRIORITIES = 1_000

// statement_timestamp(), not now(): inside the caller's transaction, ages must not stand still.
const askBacklog = defineQuestion<CountParams, BacklogRow>('backlog', (parts) => {
  const { table } = parts
  const isLarge = sql`(select share < 1 from jobs_share)`
  const first = (condition: RawBuilder<unknown>) => sql`
    select job.queue, job.priority, job.ready_at
    from ${table('jobs')} as job
    where job.execute_at is null and ${isLarge} and ${condition}
    order by job.queue, ${jobRank} limit 1`
  return sql`
    with recursive ${countsByState(parts)}, priorities as (
      select * from (${first(sql`true`)}) as first
      union all
      select next.*
      from priorities as above
      cross join lateral (
        ${first(sql`(job.queue, ${jobRank}) >= (above.queue, (1 - above.priority)::bigint << 47)`)}
      ) as next
    ), counted as (
      select
        queue, sum(jobs) filter (where state = 'ready') as ready, sum(jobs) filter (where state = 'scheduled') as scheduled,
        sum(jobs) filter (where state = 'parked') as parked,
        bool_and(exact) as exact, min(oldest) filter (where state = 'ready') as ready_at,
        min(oldest) filter (where state = 'scheduled') as execute_at
      from waiting
      group by queue
    ), aged as (
      select queue, min(ready_at) as ready_at
      from (select queue, ready_at from priorities limit ${sql.lit(MAX_PRIORITIES)}) as first
      group by queue
    ), due as (
      select found.queue, nullif(first.execute_at, 'infinity') as execute_at
      from scheduled_queues as found
      cross join lateral (
        select job.execute_at from ${table('jobs')} as job
        where job.queue = found.queue and job.execute_at is not null
        order by job.execute_at limit 1
      ) as first
    ), served as (
      select queue, count(*) as workers
      from ${table('workers')} as worker cross join lateral (select distinct unnest(worker.queues) as queue) as own
      group by queue
    )
    select
      queue, coalesce(ready, 0)::bigint as ready, coalesce(scheduled, 0)::bigint as scheduled, coalesce(parked, 0)::bigint as parked,
      coalesce(exact, true) as exact, coalesce(workers, 0) as workers,
      case when least(counted.ready_at, aged.ready_at) is not null
        then greatest(0, ${epochMs(sql`statement_timestamp() - least(counted.ready_at, aged.ready_at)`)}) end as "oldestReadyMs",
      ${epochMs(sql`least(counted.execute_at, due.execute_at)`)} as "nextScheduledAt", ${epochMs(sql`paused_at`)} as "pausedAt"
    from counted
    full join served using (queue)
    full join (select name as queue, paused_at from ${table('queues')} where paused_at is not null) as paused using (queue)
    left join aged using (queue)
    left join due using (queue)
    order by queue`
})
