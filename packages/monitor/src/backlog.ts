import type { Executor } from '@pgq/core'
import { sql } from 'kysely'
import { dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { isNotHeld } from './running.js'

/** What waits in one queue. */
export interface QueueBacklog {
  readonly queue: string
  /** Jobs that could run now and that nobody has claimed. */
  readonly ready: number
  /** For how many ms the oldest of them could have been running. Absent when none is ready. */
  readonly oldestReadyMs?: number
  /** Jobs that wait for their time. */
  readonly scheduled: number
  /** When the first of them is due; an instant in the past while no worker has promoted it. Absent when none is scheduled. */
  readonly nextScheduledAt?: Date
  /** Workers that serve this queue. Zero beside a growing backlog says why. */
  readonly workers: number
}

/** The backlog of every queue that has a waiting job or a worker, ordered by name. Reads each waiting job's row once. */
export async function backlog(executor: Executor, options: MonitorOptions = {}): Promise<QueueBacklog[]> {
  const rows = await askBacklog(executor, options, {})
  return rows.map(({ oldestReadyMs, nextScheduledAt, ...rest }) => ({
    ...rest,
    ...(oldestReadyMs !== null && { oldestReadyMs }),
    ...(nextScheduledAt !== null && { nextScheduledAt: dateOf(nextScheduledAt) }),
  }))
}

interface BacklogRow extends Omit<QueueBacklog, 'oldestReadyMs' | 'nextScheduledAt'> {
  oldestReadyMs: number | null
  nextScheduledAt: EpochMs | null
}

// statement_timestamp(), not now(): inside the caller's transaction, ages must not stand still.
const askBacklog = defineQuestion<object, BacklogRow>('backlog', (parts) => {
  const { table } = parts
  return sql`
    with waiting as (
      select
        job.queue, count(*) filter (where job.execute_at is null) as ready, min(job.ready_at) filter (where job.execute_at is null) as ready_at,
        count(job.execute_at) as scheduled, min(job.execute_at) as execute_at
      from ${table('jobs')} as job
      where job.execute_at is not null or ${isNotHeld(parts, sql`job.id`)}
      group by job.queue
    ), served as (
      select queue, count(*) as workers
      from ${table('workers')} as worker cross join lateral (select distinct unnest(worker.queues) as queue) as own
      group by queue
    )
    select
      queue, coalesce(ready, 0) as ready, coalesce(scheduled, 0) as scheduled, coalesce(workers, 0) as workers,
      case when ready > 0 then greatest(0, ${epochMs(sql`statement_timestamp() - ready_at`)}) end as "oldestReadyMs",
      ${epochMs(sql`execute_at`)} as "nextScheduledAt"
    from waiting full join served using (queue)
    order by queue`
})
