import { type RawBuilder, sql } from 'kysely'
import { batchOf, defineClaim, type LeaseRequest, leaseOf } from './batch.js'
import type { Executor } from './executor.js'
import { dueAt, inMs } from './fire-schedules.js'
import { isNotPaused } from './queues.js'
import { defineStatement, type StatementParts } from './statement.js'

/** What to claim. The three arrays describe index ranges and have one length. */
export interface ClaimRequest {
  /** The claiming worker: it must be alive, or nothing is claimed. */
  readonly workerId: number
  readonly queues: readonly string[]
  /** Only ranks above this one, per range. */
  readonly after: readonly string[]
  /** Only ranks up to this one, per range. */
  readonly upto: readonly string[]
  /** Task names that this worker can run. Jobs of others are left alone. */
  readonly tasks: readonly string[]
  /** At most this many jobs ... */
  readonly limit: number
  /** ... and, after the first one, at most this many bytes of args, as they are stored: compressed ones count by that size. */
  readonly maxBytes: number
}

/** From so many crashes on a job is a suspect: no claim takes it but claimSuspect..., see suspects.ts. */
export const SUSPECT_CRASHES = 2

/** A job's place in the order of claiming, lowest first: 16 bits of priority, 47 bits of position. */
export const claimRank = (priority: number, position: number): bigint => BigInt(position) - (BigInt(priority) << 47n)

/** The same of a row by the name job, as the indexes have it. */
export const jobRank: RawBuilder<unknown> = sql`(job.position - (job.priority::bigint << 47))`

/**
 * Moves ready jobs into one lease (workerId, number), highest priority first, then oldest first. The lease is the proof of
 * holding them; the pair must be new. Answers the jobs in that order; an empty list leaves no lease. After a crash of the
 * worker the lease stays until a rescue.
 */
export const claimIntoLease = defineClaim<ClaimRequest & LeaseRequest>('claim_into_lease', (parts) =>
  leaseOf(parts, removeReadyJobs(parts)),
)

/**
 * Removes ready jobs and answers them: the whole claim of at-most-once jobs. Inside a transaction they come back if it does not
 * commit.
 */
export const claimAndDelete = defineClaim<ClaimRequest>('claim_and_delete', (parts) => batchOf(removeReadyJobs(parts)))

/**
 * Removes the first ready jobs of the given ranges. The ranges are taken in turn and lazily: the second is looked at only
 * when the first did not fill the limit. Paused queues fall away with their ranges: no job is asked.
 *
 * Evidence (PostgreSQL 18.4, two cores, 1,000 a batch, 80-byte args; server CPU per job, of variants that took batches in turns):
 * - into a lease 4.8 us, at-most-once 4.4 us; the DELETE alone, id and args as a row per job: 3.0 us, of which 0.3 is not in a claim
 *   from one constant range; by id instead of ctid 0.4 us more (the rows are locked, so they cannot move);
 * - a running sum by a window costs 0.3-0.6 us; this sum of all nothing that shows, and the window is left to the batch that is too large;
 * - the lease's arrays as the answer, instead of aggregates of its own: 0.2 us less; of the answer, timestamps as numbers cost 0.4 us more
 *   than in binary form, and names as numbers 0.2 us more than one name that counts for all;
 * - with a trace context of 90 bytes in each job: 0.5 us more;
 * - the lease costs 190 bytes of WAL per job over the bare DELETE (305 against 115).
 * The workers row is locked FOR KEY SHARE: a worker being declared dead (FOR UPDATE) cannot claim any more.
 */
const removeReadyJobs = ({ table, param }: StatementParts<ClaimRequest>): RawBuilder<unknown> => sql`
  delete from ${table('jobs')}
  where ctid = any ((
    select case when sum(size) <= ${param('maxBytes')} then array_agg(ctid) else (
      select array_agg(each.ctid)
      from (
        select part.ctid, sum(part.size) over (rows unbounded preceding) - part.size as bytes_before
        from unnest(array_agg(candidate.ctid), array_agg(candidate.size)) as part (ctid, size)
      ) as each
      where each.bytes_before < ${param('maxBytes')}
    ) end
    from (
      select ready.ctid, ready.size
      from
        (select from ${table('workers')} where id = ${param('workerId')} for key share) as claimer,
        unnest(${param('queues')}::text[], ${param('after')}::bigint[], ${param('upto')}::bigint[]) as range (queue, after, upto)
      cross join lateral (
        select job.ctid, pg_column_size(job.args) as size
        from ${table('jobs')} as job
        where job.queue = range.queue and job.execute_at is null and job.task = any (${param('tasks')}::text[])
          and job.crash_count < ${sql.lit(SUSPECT_CRASHES)}
          and ${jobRank} > range.after
          and ${jobRank} <= range.upto
        order by ${jobRank}
        limit ${param('limit')}
        for update skip locked
      ) as ready
      where ${isNotPaused({ table }, sql`range.queue`)}
      limit ${param('limit')}
    ) as candidate
  )::tid[])
  returning *`

/** What to promote, and where to look for ready jobs. */
export interface PromoteRequest {
  readonly queues: readonly string[]
  /** At most so many jobs. */
  readonly limit: number
  /** Also say whether jobs of these tasks are ready, for a worker that sleeps. Default: none. */
  readonly watchedTasks?: readonly string[]
}

/** What promoteDueJobs answers. */
export interface Promotion {
  /** How many jobs became ready. When this is the limit there may be more. */
  readonly promoted: number
  /** When the next one will, in ms from now; null: none waits. */
  readonly nextDueMs: number | null
  /** Whether a job of the watched tasks was ready before, in a queue that is not paused. Suspects do not count. */
  readonly ready: boolean
  /** Whether there are suspects at all; see goAlone. */
  readonly suspects: boolean
  /** Whether jobs are parked in these queues; see findFreePlaces. */
  readonly parked: boolean
  /** When a schedule is due, in ms from now; null: none waits. See fireSchedules. */
  readonly nextSlotMs: number | null
}

/**
 * Makes due jobs ready, in the order of their times. They take new positions: a cursor that has passed their old ones cannot
 * miss them. One update per delayed job, none for the others.
 */
export async function promoteDueJobs(executor: Executor, schema: string, request: PromoteRequest): Promise<Promotion> {
  const [row] = await promoteStatement(executor, schema, { watchedTasks: [], ...request })
  return row!
}

const promoteStatement = defineStatement<Required<PromoteRequest>, Promotion>(
  'promote_due_jobs',
  ({ table, param, routine, nextPosition }) => sql`
    with due as (
      select due.ctid, ${nextPosition} as position
      from (
        select found.ctid
        from unnest(${param('queues')}::text[]) as wanted (queue)
        cross join lateral (
          select job.ctid, job.execute_at
          from ${table('jobs')} as job
          where job.queue = wanted.queue and job.execute_at <= now()
          order by job.execute_at
          limit ${param('limit')}
          for update skip locked
        ) as found
        order by found.execute_at
        limit ${param('limit')}
      ) as due
    ), promoted as (
      update ${table('jobs')} as job
      set position = due.position, ready_at = job.execute_at, execute_at = null
      from due
      where job.ctid = due.ctid
      returning 1
    )
    select
      (select count(*) from promoted)::integer as promoted,
      (
        select (extract(epoch from min(next.execute_at) - now()) * 1000)::double precision
        from unnest(${param('queues')}::text[]) as wanted (queue)
        cross join lateral (
          select job.execute_at
          from ${table('jobs')} as job
          where job.queue = wanted.queue and job.execute_at > now() and job.execute_at < 'infinity'
          order by job.execute_at
          limit 1
        ) as next
      ) as "nextDueMs",
      cardinality(${param('watchedTasks')}::text[]) > 0 and exists (
        select from unnest(${param('queues')}::text[]) as wanted (queue)
        cross join lateral (
          select from ${table('jobs')} as job
          where job.queue = wanted.queue and job.execute_at is null and job.task = any (${param('watchedTasks')}::text[])
            and job.crash_count < ${sql.lit(SUSPECT_CRASHES)}
          order by ${jobRank}
          limit 1
        ) as front
        where ${isNotPaused({ table }, sql`wanted.queue`)}
      ) as ready,
      exists (
        select from ${table('jobs')} where execute_at is null and crash_count >= ${sql.lit(SUSPECT_CRASHES)}
      ) as suspects,
      exists (
        select from unnest(${param('queues')}::text[]) as wanted (queue)
        cross join lateral (
          select from ${table('jobs')} as job
          where job.queue = wanted.queue and job.execute_at = 'infinity' and ${routine('concurrency_key')}(job.meta) > ''
          limit 1
        ) as parked
      ) as parked,
      (
        select ${inMs(sql`min(${dueAt})`)} - ${inMs(sql`now()`)}
        from ${table('schedules')} as schedule where schedule.paused_at is null
      ) as "nextSlotMs"`,
)

type UnknownTasksRequest = Pick<ClaimRequest, 'queues' | 'tasks'>

/**
 * Names of tasks that wait at the front of the queues and that this worker cannot run, at most 20. Looks at the first 1,000
 * ready jobs of each queue: what nobody takes ends up at the front.
 */
export async function findUnknownTasks(
  executor: Executor,
  schema: string,
  request: UnknownTasksRequest,
): Promise<string[]> {
  return (await unknownTasksStatement(executor, schema, request)).map(({ task }) => task)
}

const unknownTasksStatement = defineStatement<UnknownTasksRequest, { task: string }>(
  'find_unknown_tasks',
  ({ table, param }) => sql`
    select distinct front.task
    from unnest(${param('queues')}::text[]) as wanted (queue)
    cross join lateral (
      select job.task
      from ${table('jobs')} as job
      where job.queue = wanted.queue and job.execute_at is null
      order by ${jobRank}
      limit 1000
    ) as front
    where not front.task = any (${param('tasks')}::text[])
    limit 20`,
)
