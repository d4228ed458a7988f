import { type Executor, isUnsettled, type JobState, sql } from '@pgq/core'
import { COUNT_OPTIONS, type CountParams, type CountRequest, countParams, countsByState } from './estimate.js'
import { checkCall, dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions, matches } from './question.js'

/** How many jobs of one task are in one state in one queue. */
export interface JobCount {
  readonly queue: string
  readonly task: string
  readonly state: JobState
  readonly jobs: number
  /**
   * False: an estimate, from a part of a large table. Of what most of the table is, usually within some per cent; of 10,000 jobs beside
   * 200,000 others, within a half. A rare task of a large queue may be missed.
   */
  readonly exact: boolean
  /**
   * The first instant among them. Ready and parked: since when it could run; scheduled: when it is due; running: when it was claimed;
   * dead: when it died. Absent for estimates.
   */
  readonly oldest?: Date
}

/**
 * Counts the jobs by queue, task and state, ordered by these; what is not there has no row. Tables beyond 4 MB are estimated,
 * unless `exact` is asked for: then every row is read.
 */
export async function countJobs(
  executor: Executor,
  request: CountRequest = {},
  options: MonitorOptions = {},
): Promise<JobCount[]> {
  checkCall('countJobs', request, COUNT_OPTIONS, options)
  const rows = await askCounts(executor, options, countParams(request))
  return rows.map(({ oldest, ...count }) => ({ ...count, ...(oldest !== null && { oldest: dateOf(oldest) }) }))
}

interface CountRow extends Omit<JobCount, 'oldest'> {
  oldest: EpochMs | null
}

/**
 * The view queue_counts counts the same, but it reads every row, and the leases' args to do so. Here no args are touched, and
 * every table is aggregated by itself before the few sums meet.
 */
const askCounts = defineQuestion<CountParams, CountRow>('count_jobs', (parts) => {
  const { table, param } = parts
  return sql`
    with recursive ${countsByState(parts)}
    select queue, task, state, sum(jobs)::bigint as jobs, bool_and(exact) as exact, ${epochMs(sql`min(oldest)`)} as oldest
    from (
      select queue, task, state, jobs, exact, oldest from waiting
      union all
      select running.queue, running.task, 'running', count(*), true, min(lease.claimed_at)
      from ${table('leases')} as lease
      cross join lateral unnest(lease.queues, lease.tasks) with ordinality as running (queue, task, ordinal)
      where ${isUnsettled(parts, sql`running.ordinal`)} and ${matches('running', param)}
      group by 1, 2
      union all
      select queue, task, state, jobs, exact, oldest from dead
    ) as part
    group by queue, task, state
    order by queue, task, state`
})
