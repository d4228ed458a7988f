import type { Executor, JobState } from '@pgq/core'
import { sql } from 'kysely'
import {
  dateOf,
  defineQuestion,
  type EpochMs,
  epochMs,
  type JobsFilter,
  type MonitorOptions,
  matches,
} from './question.js'
import { heldJobs, isNotHeld, isUnsettled } from './running.js'

/** How many jobs of one task are in one state in one queue. */
export interface JobCount {
  readonly queue: string
  readonly task: string
  readonly state: JobState
  readonly jobs: number
  /**
   * The first instant among them. Ready: since when it could run; scheduled: when it is due; running: when it was claimed;
   * dead: when it died. Absent only for running jobs whose transaction this role cannot see.
   */
  readonly oldest?: Date
}

/** Counts the jobs by queue, task and state, ordered by these; what is not there has no row. Reads each job's row once. */
export async function countJobs(
  executor: Executor,
  { queue, task }: JobsFilter = {},
  options: MonitorOptions = {},
): Promise<JobCount[]> {
  const rows = await askCounts(executor, options, { queue: queue ?? null, task: task ?? null })
  return rows.map(({ oldest, ...count }) => ({ ...count, ...(oldest !== null && { oldest: dateOf(oldest) }) }))
}

interface CountRow extends Omit<JobCount, 'oldest'> {
  oldest: EpochMs | null
}

/**
 * The view queue_counts counts the same, but it reads the leases' args to do so. Here no args are touched, and every table is
 * aggregated by itself before the few sums meet.
 */
const askCounts = defineQuestion<{ queue: string | null; task: string | null }, CountRow>('count_jobs', (parts) => {
  const { table, param } = parts
  return sql`
    select queue, task, state, sum(jobs)::bigint as jobs, ${epochMs(sql`min(oldest)`)} as oldest
    from (
      select
        job.queue, job.task, case when job.execute_at is null then 'ready' else 'scheduled' end as state,
        count(*) as jobs, min(coalesce(job.execute_at, job.ready_at)) as oldest
      from ${table('jobs')} as job
      where (job.execute_at is not null or ${isNotHeld(parts, sql`job.id`)}) and ${matches('job', param)}
      group by 1, 2, 3
      union all
      select held.queue, held.task, 'running', count(*), min(held.since)
      from (${heldJobs(parts)}) as held
      where ${matches('held', param)}
      group by 1, 2
      union all
      select running.queue, running.task, 'running', count(*), min(lease.claimed_at)
      from ${table('leases')} as lease
      cross join lateral unnest(lease.queues, lease.tasks) with ordinality as running (queue, task, ordinal)
      where ${isUnsettled(parts, sql`running.ordinal`)} and ${matches('running', param)}
      group by 1, 2
      union all
      select dead.queue, dead.task, 'dead', count(*), min(dead.died_at)
      from ${table('dead_jobs')} as dead
      where ${matches('dead', param)}
      group by 1, 2
    ) as part
    group by queue, task, state
    order by queue, task, state`
})
