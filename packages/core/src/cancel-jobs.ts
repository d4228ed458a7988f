import { type RawBuilder, sql } from 'kysely'
import type { Executor } from './executor.js'
import { type FilterParams, fitsWaiting, selectLeased, type UnfinishedJobFilter, wantedIds } from './job-filter.js'
import { type ManageOptions, manage } from './manage-jobs.js'
import { inPlaceOfSameId } from './settle.js'
import { defineStatement, type StatementParts } from './statement.js'

/**
 * Cancels jobs, waiting or running: they become dead letters with reason "cancelled". For a running job that is a request: its
 * worker aborts the handler's signal with a CancelledError, and unless the handler succeeds all the same, the job ends as
 * cancelled. Should it come back into the queue instead (its worker stops, or is lost), it ends there. Answers how many jobs
 * were cancelled or newly asked to end: call again while it answers as many as the limit.
 *
 * A running at-most-once job is in no table, so only its id can name it; its worker aborts it, but it is not counted.
 */
export const cancelJobs = (executor: Executor, filter: UnfinishedJobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, cancelStatement, 'unfinished', filter, options)

/**
 * A row of jobs that cannot be locked is just being claimed: it is asked to end, as if it ran.
 * Ids that are nowhere may be those of at-most-once jobs that run. All ask in the order of the ids: two that wait for each other's
 * requests would be a deadlock.
 */
const cancelStatement = defineStatement<FilterParams, { jobs: number }>('cancel_jobs', (parts) => {
  const { table, param, schemaName } = parts
  const isNew = (id: RawBuilder<unknown>) => sql`${id} not in (select job_id from ${table('cancellations')})`
  return sql`
    with waiting as materialized (
      select job.id from ${table('jobs')} as job
      where ${fitsWaiting(parts)} and ${isNew(sql`job.id`)}
      order by job.id
      limit ${param('limit')}::integer
    ), cancelled as (
      delete from ${table('jobs')}
      where id in (
        select job.id from ${table('jobs')} as job where job.id in (select id from waiting) for update of job skip locked
      )
      returning *
    ), ${buryCancelled(parts)}, running as (
      select leased.id from (${selectLeased(parts)}) as leased
      where ${isNew(sql`leased.id`)}
      limit greatest(${param('limit')}::integer - (select count(*) from waiting), 0)
    ), nowhere as (
      select wanted.id from (${wantedIds(parts)}) as wanted
      where ${param('queue')}::text is null and ${param('task')}::text is null and ${param('states')}::text like '%running'
        and not exists (select from ${table('jobs')} as job where job.id = wanted.id)
        and not exists (select from ${table('dead_jobs')} as dead where dead.id = wanted.id)
        and wanted.id not in (select unnest(lease.ids) from ${table('leases')} as lease)
    ), requested as (
      insert into ${table('cancellations')} (job_id)
      select id from waiting where id not in (select id from cancelled)
      union all select id from running
      union all select id from nowhere
      order by id
      on conflict do nothing
      returning job_id
    )
    select
      (
        (select count(*) from cancelled)
        + (select count(*) from requested where job_id not in (select id from nowhere))
      )::integer as jobs,
      (
        select count(pg_notify('pgq_' || ${schemaName} || '_cancel', '')) from (select from requested limit 1) as any_request
        where pg_notification_queue_usage() < 0.9
      ) as told`
})

/** The channel on which workers hear that jobs were asked to end. */
export const cancelChannel = (schema: string): string => `pgq_${schema}_cancel`

/** The CTE that makes dead letters of the rows of the CTE `cancelled`, which are whole rows of jobs. */
export const buryCancelled = ({ table }: Pick<StatementParts<object>, 'table'>): RawBuilder<unknown> => sql`
  cancelled_dead as (
    insert into ${table('dead_jobs')}
      (id, created_at, ready_at, priority, attempt, crash_count, reason, queue, task, args, retry, meta, errors)
    select id, created_at, ready_at, priority, attempt, crash_count, 'cancelled', queue, task, args, retry, meta, errors
    from cancelled
    ${inPlaceOfSameId}
  )`
