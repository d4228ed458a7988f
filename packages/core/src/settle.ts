import { type RawBuilder, sql } from 'kysely'
import { type ClaimedJob, wholeArrays } from './batch.js'
import type { Executor } from './executor.js'
import type { Settlement } from './settlement.js'
import { defineStatement, type StatementParts } from './statement.js'

/** What to acknowledge: whole leases by number, and single places of others. */
export interface Acknowledgement {
  readonly workerId: number
  /** Leases of which every job is settled: their rows go. */
  readonly finished: readonly number[]
  /** Successfully finished places of leases that go on. */
  readonly partial: readonly { readonly number: number; readonly done: readonly number[] }[]
}

/**
 * Records finished jobs: one deleted row for a whole lease, a few appended bytes for a part of one. Answers the numbers of
 * the leases that were still ours; a number that is missing was lost, its jobs were given to somebody else.
 */
export async function acknowledge(
  executor: Executor,
  schema: string,
  { workerId, finished, partial }: Acknowledgement,
): Promise<Set<number>> {
  const params = { workerId, finished, partial: JSON.stringify(partial) }
  return new Set((await acknowledgeStatement(executor, schema, params)).map(({ number }) => Number(number)))
}

const acknowledgeStatement = defineStatement<
  { workerId: number; finished: readonly number[]; partial: string },
  { number: string }
>(
  'acknowledge',
  ({ table, param }) => sql`
    with finished as (
      delete from ${table('leases')}
      where worker_id = ${param('workerId')} and number = any (${param('finished')}::bigint[])
      returning number
    ), partial as (
      update ${table('leases')} as lease set done = lease.done || part.done
      from json_to_recordset(${param('partial')}::json) as part (number bigint, done smallint[])
      where lease.worker_id = ${param('workerId')} and lease.number = part.number
      returning lease.number
    ), forgotten as (
      delete from ${table('finished_jobs')}
      where worker_id = ${param('workerId')} and number = any (${param('finished')}::bigint[])
    )
    select number from finished union all select number from partial`,
)

/** What becomes of a job that does not end well; `release` gives it back unrun, its attempt and position kept. */
export type Restore = Exclude<Settlement, { kind: 'complete' }> | { readonly kind: 'release' }

/** The same, of one place. */
export type Return = Restore & { readonly number: number; readonly ordinal: number }

/**
 * Takes jobs out of their leases and puts them back into the queue or among the dead letters, all in one statement. Jobs
 * that were finished inside a transaction of their own stay finished, and a repeated call (after an answer that was lost)
 * changes nothing: a place that is done already is passed over. Answers the numbers of the leases that were still
 * ours. The lease rows stay, also when nothing is left in them: acknowledge removes those.
 */
export async function returnJobs(
  executor: Executor,
  schema: string,
  { workerId, returns }: { readonly workerId: number; readonly returns: readonly Return[] },
): Promise<Set<number>> {
  const found = await returnStatement(executor, schema, { workerId, returns: JSON.stringify(returns) })
  return new Set(found.map(({ number }) => Number(number)))
}

const returnStatement = defineStatement<{ workerId: number; returns: string }, { number: string }>(
  'return_jobs',
  (parts) => sql`
    ${returnOf(
      parts,
      sql`
        select * from json_to_recordset(${parts.param('returns')}::json) as returned (
          number bigint, ordinal smallint, kind text, attempt smallint, "delayMs" double precision, reason text, error json
        )`,
    )}
    select lease.number
    from lease, (select ${parts.routine('ring_doorbell')}(array_agg(distinct queue)) from requeued offset 0) as doorbell`,
)

/** The CTEs that take the places which `returned` names out of their leases, and put their jobs where it says. */
export const returnOf = (parts: StatementParts<{ workerId: number }>, returned: RawBuilder<unknown>) => sql`
    with returned as (${returned}), lease as (
      update ${parts.table('leases')} as lease set done = lease.done || part.done, undecided = null
      from (select number, array_agg(ordinal) as done from returned group by number) as part
      where lease.worker_id = ${parts.param('workerId')} and lease.number = part.number
      returning lease.number, lease.done, ${wholeArrays}
    ), job as (
      select
        lease.ids[ordinal] as id, lease.positions[ordinal] as position, lease.created_ats[ordinal] as created_at,
        lease.ready_ats[ordinal] as ready_at, lease.priorities[ordinal] as priority,
        coalesce(returned.attempt, (lease.attempts[ordinal] - (returned.kind in ('release', 'park'))::integer)::smallint) as attempt,
        lease.crash_counts[ordinal] as crash_count, lease.queues[ordinal] as queue, lease.tasks[ordinal] as task,
        lease.args[ordinal] as args, lease.retries[ordinal] as retry, lease.metas[ordinal] as meta,
        ${errorsWith(sql`lease.errors[ordinal]`, sql`returned.error`)} as errors,
        returned.kind, returned."delayMs" as delay_ms, returned.reason
      from lease
      cross join lateral (select * from returned where returned.number = lease.number offset 0) as returned
      where cardinality(array_positions(lease.done, ordinal)) = 1 and not exists (
        select from ${parts.table('finished_jobs')} as finished
        where finished.worker_id = ${parts.param('workerId')} and finished.number = returned.number
          and finished.ordinal = returned.ordinal
      )
    ), ${placeJobs(parts)}`

/**
 * Puts the rows of the CTE `job` where their kind says; what cancelJobs asked to end meanwhile is buried. Delays count from
 * this statement: a transaction may have begun long ago.
 */
const placeJobs = ({ table, nextPosition }: Pick<StatementParts<object>, 'table' | 'nextPosition'>) => sql`
    cancelled as (
      delete from ${table('cancellations')} where job_id = any (array(select id from job)) returning job_id
    ), requeued as (
      insert into ${table('jobs')}
        (id, position, created_at, ready_at, execute_at, priority, attempt, crash_count, queue, task, args, retry, meta, errors)
      select
        id, case when kind = 'requeue' then ${nextPosition} else position end, created_at,
        case when kind = 'requeue' then statement_timestamp() else ready_at end,
        case when kind = 'park' then 'infinity' when delay_ms > 0 then statement_timestamp() + delay_ms * interval '1 ms' end,
        priority, attempt, crash_count, queue, task, args, retry, meta, errors
      from job
      where kind in ('requeue', 'release', 'park') and id not in (select job_id from cancelled)
        and not ${waitsAlready({ table }, sql`job.id`)}
      returning queue
    ), buried as (
      insert into ${table('dead_jobs')}
        (id, created_at, ready_at, reason, priority, attempt, crash_count, queue, task, args, retry, meta, errors)
      select
        id, created_at, ready_at, case when cancelled.job_id is null then coalesce(reason, 'failed') else 'cancelled' end, priority, attempt,
        crash_count, queue, task, args, retry, meta, errors
      from job left join cancelled on job_id = id
      where kind = 'bury' or job_id is not null or ${waitsAlready({ table }, sql`job.id`)}
      ${inPlaceOfSameId}
    )`

/** An id comes twice when its sequence was set back, as by logical replication, which carries none: the second job becomes a dead letter. */
export const waitsAlready = ({ table }: Pick<StatementParts<object>, 'table'>, id: RawBuilder<unknown>) => sql`
  exists (select from ${table('jobs')} as same where same.id = ${id} ${oneByOne})`

/**
 * Keeps an "exists" from being answered by a hash of the whole table: a plan of the time when that was empty would go on so. 600,000 jobs:
 * 450 ms.
 */
export const oneByOne = sql`offset 0`

const LETTER =
  'created_at ready_at died_at reason priority attempt crash_count queue task args retry meta errors'.split(' ')

/** The later one of two letters with one id counts. */
export const inPlaceOfSameId = sql`
  on conflict (id) do update set ${sql.join(LETTER.map((name) => sql`${sql.id(name)} = excluded.${sql.id(name)}`))}`

/** An error history with one more entry, the newest 20 kept. One that is no list, which only SQL can write, counts as none. */
export const errorsWith = (history: ReturnType<typeof sql>, error: ReturnType<typeof sql>) => sql`
  case when ${error} is null then ${history} else (
    select json_agg(entry.error order by entry.place) from (
      select past.error, past.place from json_array_elements(
        case when json_typeof(${history}) = 'array' then ${history} else '[]' end
      ) with ordinality as past (error, place)
      union all select ${error}, 2147483647
      order by place desc limit 20
    ) as entry
  ) end`

/** Writes jobs back that claimAndDelete removed: into the queue, or among the dead letters. */
export async function restoreJobs(
  executor: Executor,
  schema: string,
  restores: readonly { readonly job: ClaimedJob; readonly settlement: Restore }[],
): Promise<void> {
  // The text of the args, not what it was parsed into: a handler may have changed that, and -0 would be 0. Args and meta that were
  // enqueued from SQL may hold a \u0000: PostgreSQL takes no JSON apart that does, but a string that holds such a text.
  const jobs = restores.map(({ job: { args, meta, ...job }, settlement }) => ({
    ...job,
    ...settlement,
    meta: meta && JSON.stringify(meta),
  }))
  await restoreStatement(executor, schema, { jobs: JSON.stringify(jobs) })
}

const restoreStatement = defineStatement<{ jobs: string }, never>(
  'restore_jobs',
  (parts) => sql`
    with restored as (
      select * from json_to_recordset(${parts.param('jobs')}::json) as restored (
        id bigint, position bigint, "createdAt" timestamptz, "readyAt" timestamptz, priority smallint, attempt smallint,
        "crashCount" smallint, queue text, task text, "argsText" text, retry json, meta text, errors json,
        kind text, "delayMs" double precision, reason text, error json
      )
    ), job as (
      select
        id, position, "createdAt" as created_at, "readyAt" as ready_at, priority,
        (attempt - (kind = 'release')::integer)::smallint as attempt, "crashCount" as crash_count, queue, task,
        "argsText"::json as args, retry, meta::json as meta, ${errorsWith(sql`restored.errors`, sql`restored.error`)} as errors,
        kind, "delayMs" as delay_ms, reason
      from restored
    ), ${placeJobs(parts)}
    select ${parts.routine('ring_doorbell')}(array_agg(distinct queue)) from requeued`,
)
