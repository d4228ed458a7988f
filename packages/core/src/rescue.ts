import { type RawBuilder, sql } from 'kysely'
import { buryCancelled } from './cancel-jobs.js'
import { SUSPECT_CRASHES } from './claim.js'
import type { Executor } from './executor.js'
import { errorsWith, inPlaceOfSameId, oneByOne, waitsAlready } from './settle.js'
import { defineStatement, type StatementParts } from './statement.js'
import { lockClass, serverEpoch } from './workers.js'

/** Who rescues, whom it may judge, and when a job counts as lost for good. */
export interface RescueRequest {
  /** The rescuing worker itself. */
  readonly workerId: number
  /**
   * The epoch (see Beat) of the server that the rescuer has known for so long that every living worker must have come back to it.
   * A server that restarts lets go of all locks while the workers live: on any other one, those that have not beaten there are
   * spared. Null: not on this one yet. Default: any.
   */
  readonly settledOn?: string | null
  /** Whether silence tells that a worker is lost. Default true. */
  readonly judgesSilent?: boolean
  /**
   * At most so many leases, whichever: one that holds what the database refuses to write keeps no more than these from their rescue. 0: only
   * what cannot be refused. Default: all.
   */
  readonly maxLeases?: number
  /** Jobs whose workers were lost this often become dead letters with reason "crashed". From 3 on, as those run alone by then. */
  readonly maxCrashes: number
}

/** What a rescue did, and what it saw. */
export interface Rescue {
  /** As in Beat. Null: the rescuing worker itself was declared dead. */
  readonly epoch: string | null
  readonly others: number
  /** How many workers have lower ids: for rescuers that take turns. */
  readonly rank: number
  /** The server's clock, ms since 1970. */
  readonly clockMs: number
  /** How long the rescuer had not beaten, by that clock. */
  readonly silentForMs: number
  /** How many other workers hold jobs. */
  readonly busy: number
  /** Sessions of lost workers that were still there (a frozen process, a network that swallows) and were ended: their transactions too. */
  readonly endedBackends: number
  /** Ids of workers found lost. */
  readonly workers: readonly number[]
  readonly requeued: number
  readonly buried: number
  /** Ids of jobs that cancelJobs asked to end: abort those that run here. */
  readonly cancelled: readonly string[]
}

/**
 * Beats for the rescuing worker, finds workers that are gone (nobody holds their liveness lock, or the beat is older than the lease) and
 * gives their jobs back, with one more crash counted: in their old positions after the first crash, with a growing delay after
 * more, and among the dead letters when they took too many workers down. The attempt that the claim counted is given back: most of
 * them have not begun. Beyond two, only a crash of a worker that ran the job
 * alone counts (see suspects.ts): what stood beside a poison job is never buried for it. Leases that belong to no worker at all
 * (a table restored from a dump, a row deleted by hand) go back, too. One statement: a crash in the middle leaves everything as
 * it was. The statistics count what was lost and what died of it.
 * What a handler finished in a transaction that commits while this begins is asked for when the lease is locked: this statement's
 * own view of the table may be older.
 * Two rescuers never meet: they skip each other's rows. The transactional leases of a lost worker are taken only when no session of it
 * is left, as one of them may be about to commit: those of a silent worker are ended here, and the next rescue takes the lease. In a
 * session that it opens afterwards it asks for the lease first: see finishHeld. Jobs that cancelJobs
 * asked to end and that wait again are buried; what is known of such requests is dropped a minute after their jobs are gone.
 */
export async function rescueLostWorkers(executor: Executor, schema: string, request: RescueRequest): Promise<Rescue> {
  const [row] = await rescueStatement(executor, schema, {
    settledOn: 'any',
    judgesSilent: true,
    maxLeases: ALL_LEASES,
    ...request,
  })
  return row!
}

const ALL_LEASES = 2 ** 31 - 1

const rescueStatement = defineStatement<Required<RescueRequest>, Rescue>('rescue_lost_workers', (parts) => {
  const { table, param, routine } = parts
  const suspect = sql.lit(SUSPECT_CRASHES)
  return sql`
    with self as (
      update ${table('workers')} set beat_at = now(), epoch = ${serverEpoch} where id = ${param('workerId')}
      returning epoch::text as epoch
    ), requested as materialized (
      select job_id from ${table('cancellations')} order by requested_at limit 10000
    ), lost as (
      select
        worker.id, worker.alone,
        not worker.locks or pg_try_advisory_xact_lock(${lockClass(parts)}, worker.id) as is_gone
      from ${table('workers')} as worker
      where worker.id <> ${param('workerId')} and ${mayBeJudged(parts)} and (
        ${isSilent(parts)} or worker.locks and pg_try_advisory_xact_lock(${lockClass(parts)}, worker.id)
      )
      order by worker.id
      for update skip locked
      limit 20
    ), silent as (
      select worker.id
      from ${table('workers')} as worker
      where worker.id <> ${param('workerId')} and ${mayBeJudged(parts)} and ${isSilent(parts)}
    ), ended as (
      select count(pg_terminate_backend(lock.pid)) as backends
      from silent
      join pg_locks as lock on lock.locktype = 'advisory' and lock.objsubid = 2 and lock.mode = 'ShareLock'
        and lock.classid = ${lockClass(parts)}::oid and lock.objid = silent.id::oid
      join pg_database as here on here.oid = lock.database and here.datname = current_database()
      join pg_stat_activity as activity on activity.pid = lock.pid and activity.usename = current_user
    ), orphan as (
      select lease.worker_id, lease.number
      from ${table('leases')} as lease
      where not exists (select from ${table('workers')} as worker where worker.id = lease.worker_id)
        and (not lease.transactional or pg_try_advisory_xact_lock(${lockClass(parts)}, lease.worker_id))
      limit 20
    ), held as materialized (
      select held.worker_id, held.number, held.transactional
      from ${table('leases')} as held
      where held.worker_id in (select id from lost) or (held.worker_id, held.number) in (select worker_id, number from orphan)
      order by random() limit ${param('maxLeases')}::integer
      for update of held skip locked
    ), lease as (
      delete from ${table('leases')} as lease
      where (lease.worker_id, lease.number) in (
        select worker_id, number from held
        where not transactional or worker_id not in (select id from lost where not is_gone)
      )
      returning lease.*, ${routine('finished_ordinals')}(lease.worker_id, lease.number) as finished
    ), leased as (
      select
        job.id, job.position, job.created_at, job.ready_at, job.priority, (job.attempt - 1)::smallint as attempt,
        (job.crash_count + case
          when job.crash_count < ${suspect} or lease.worker_id in (select id from lost where alone) then 1 else 0
        end)::smallint as crash_count,
        job.queue, job.task, job.args, job.retry, job.meta, job.errors
      from lease
      cross join lateral unnest(
        lease.ids, lease.positions, lease.created_ats, lease.ready_ats, lease.priorities, lease.attempts, lease.crash_counts,
        lease.queues, lease.tasks, lease.args, lease.retries, lease.metas, lease.errors
      ) with ordinality as job (
        id, position, created_at, ready_at, priority, attempt, crash_count, queue, task, args, retry, meta, errors, ordinal
      )
      where job.ordinal <> all (lease.done || lease.finished)
    ), twins as (
      select id from leased group by id having count(*) > 1
    ), requeued as (
      insert into ${table('jobs')}
        (id, position, created_at, ready_at, priority, attempt, crash_count, queue, task, args, retry, meta, errors, execute_at)
      select *, ${afterCrashes(sql`crash_count`)} from leased
      where crash_count < ${param('maxCrashes')} and id not in (select job_id from requested)
        and not ${waitsAlready(parts, sql`leased.id`)} and id not in (select id from twins)
      returning queue, task
    ), buried as (
      insert into ${table('dead_jobs')}
        (id, created_at, ready_at, priority, attempt, crash_count, reason, queue, task, args, retry, meta, errors)
      select distinct on (job.id)
        job.id, job.created_at, job.ready_at, job.priority, job.attempt, job.crash_count,
        case when job.id in (select job_id from requested) then 'cancelled' else 'crashed' end, job.queue, job.task,
        job.args, job.retry, job.meta, ${errorsWith(sql`job.errors`, crashError)}
      from leased as job
      where job.crash_count >= ${param('maxCrashes')} or job.id in (select job_id from requested)
        or ${waitsAlready(parts, sql`job.id`)} or job.id in (select id from twins)
      ${inPlaceOfSameId}
      returning id, queue, task, reason
    ), counted as (
      insert into ${table('job_stats')} (queue, task, lost, crashed, cancelled)
      select
        queue, task, count(*), count(*) filter (where reason = 'crashed'), count(*) filter (where reason = 'cancelled')
      from (
        select queue, task, reason from buried
        union all select queue, task, null from requeued
      ) as ended
      group by queue, task
    ), cancelled as (
      delete from ${table('jobs')} where ctid = any (array(
        select job.ctid from ${table('jobs')} as job
        where job.id = any (array(select job_id from requested)) and ${param('maxLeases')}::integer > 0
        for update skip locked
      ))
      returning *
    ), ${buryCancelled(parts)}, forgotten as (
      delete from ${table('cancellations')} where job_id in (
        select known.job_id from ${table('cancellations')} as known
        where known.job_id in (select id from cancelled) or known.job_id in (select id from buried)
          or known.requested_at < now() - interval '1 minute'
            and not exists (select from ${table('jobs')} as job where job.id = known.job_id ${oneByOne})
            and known.job_id not in (select unnest(lease.ids) from ${table('leases')} as lease)
        for update skip locked
      )
    ), gone as (
      delete from ${table('workers')} where id in (select id from lost) and id not in (
        select worker_id from ${table('leases')}
        where worker_id in (select id from lost) and (worker_id, number) not in (select worker_id, number from lease)
      )
      returning id
    )
    select
      (select count(*) from ${table('workers')} where id <> ${param('workerId')})::integer as others,
      (select epoch from self) as epoch,
      (select count(*) from ${table('workers')} where id < ${param('workerId')})::integer as rank,
      (extract(epoch from clock_timestamp()) * 1000)::double precision as "clockMs",
      (
        select (extract(epoch from now() - beat_at) * 1000)::double precision from ${table('workers')} where id = ${param('workerId')}
      ) as "silentForMs",
      (select backends from ended)::integer as "endedBackends",
      (
        select count(*) from (select distinct worker_id from ${table('leases')} where worker_id <> ${param('workerId')}) as holder
        where exists (
          select from ${table('leases')} as held where held.worker_id = holder.worker_id and held.ids <> '{}' ${oneByOne}
        )
      )::integer as busy,
      array(select id from gone) as workers,
      (select count(*) from requeued)::integer as requeued,
      (select count(*) from buried)::integer as buried,
      array(select job_id::text from requested) as cancelled,
      (select ${routine('ring_doorbell')}(array_agg(distinct queue)) from requeued) as rung`
})

/** It has come back to this server, or had the time to. An outage makes every living worker silent, and frees all locks. */
const mayBeJudged = ({ param }: StatementParts<Required<RescueRequest>>) => sql`
  (worker.epoch = ${serverEpoch} or ${param('settledOn')}::text in ('any', ${serverEpoch}::text))`

/** Not where the rescuer, who beats all the time, looks silent itself: then the clock of the server was put forward, and all do. */
const isSilent = ({ table, param }: StatementParts<Required<RescueRequest>>) => sql`
  (worker.beat_at < now() - worker.lease_ms * interval '1 ms' and ${param('judgesSilent')} and not exists (
    select from ${table('workers')} as rescuer
    where rescuer.id = ${param('workerId')} and rescuer.beat_at < now() - rescuer.lease_ms * interval '1 ms'
  ))`

/** At once after the first crash; then after 1 s, 4 s, 16 s, ... an hour. */
const afterCrashes = (crashes: RawBuilder<unknown>) => sql`
  case when ${crashes} > 1 then now() + least(interval '1 s' * 4 ^ least(${crashes} - 2, 10), interval '1 hour') end`

const crashError = sql`json_build_object(
  'attempt', job.attempt + 1, 'at', to_char(now() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'name', 'CrashError',
  'message', format('The worker was lost while it ran this job, %s times in all.', job.crash_count))`
