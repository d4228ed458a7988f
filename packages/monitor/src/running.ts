import type { PgqDatabase } from '@pgq/core'
import { type RawBuilder, sql } from 'kysely'

interface Tables {
  table(name: keyof PgqDatabase): RawBuilder<unknown>
}

/** Which worker runs a job; hostname and pid are labels for people. */
export interface JobWorker {
  readonly id: number
  readonly hostname: string
  readonly pid: number
}

/**
 * How a running job is held. `lease`: taken out of the queue until it is settled. `transaction`: by a transactional handler;
 * its worker noted it, and the row is deleted when that transaction commits.
 */
export type JobHolder = 'lease' | 'transaction'

/**
 * The condition that the place `ordinal` of `lease` still runs: neither acknowledged, nor returned, nor finished. Name the ordinal
 * with its table: inside the subquery a bare one would be that of finished_jobs.
 */
export const isUnsettled = ({ table }: Tables, ordinal: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  ${ordinal} <> all (lease.done) and not exists (
    select from ${table('finished_jobs')} as finished
    where finished.worker_id = lease.worker_id and finished.number = lease.number and finished.ordinal = ${ordinal}
  )`

/**
 * The jobs that transactional workers hold, one row each, found by their primary key. A row's xmax names the transaction that
 * deletes it, and that transaction's lock its backend: so `since` is known without an extension, also inside a savepoint.
 * It is null where the transaction cannot be seen: on a standby, or of another role without pg_read_all_stats. Args only for
 * those who name them in `more`: a role may count jobs and not read what they carry.
 */
export const heldJobs = ({ table }: Tables, more = sql``): RawBuilder<unknown> => sql`
  select distinct on (job.id)
    job.id, job.queue, job.task, job.priority, (job.attempt + 1)::smallint as attempt, job.crash_count, job.created_at,
    job.ready_at, worker.id as worker_id, activity.xact_start as since${more}
  from ${table('workers')} as worker
  cross join lateral unnest(worker.holding) as noted (id)
  join ${table('jobs')} as job on job.id = noted.id and job.execute_at is null
  left join pg_locks as lock
    on lock.locktype = 'transactionid' and lock.granted and lock.mode = 'ExclusiveLock' and lock.transactionid = job.xmax
  left join pg_stat_activity as activity on activity.pid = lock.pid
  order by job.id, worker.id desc`

/** The condition that no transactional worker holds a job: one hash of the few ids that are held. */
export const isNotHeld = ({ table }: Tables, id: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  ${id} not in (select unnest(holding) from ${table('workers')})`
