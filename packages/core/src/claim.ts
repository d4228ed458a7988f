import { type RawBuilder, sql } from 'kysely'
import { SEPARATOR } from './encode-args.js'
import type { Executor } from './executor.js'
import type { JobMeta } from './job.js'
import { isNotPaused } from './queues.js'
import type { RetryPolicy } from './retry-policy.js'
import type { JobError } from './settlement.js'
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

/** A job as it was claimed. The attempt that is about to run is counted already. */
export interface ClaimedJob {
  readonly id: string
  /** Its place in the lease, from 1. */
  readonly ordinal: number
  readonly position: number
  readonly priority: number
  readonly attempt: number
  readonly crashCount: number
  readonly queue: string
  readonly task: string
  readonly args: unknown
  /** The args as they are stored, whatever a handler does to its own. */
  readonly argsText: string
  /** What travels beside the args, such as a trace context. */
  readonly meta: JobMeta | null
  readonly retry: RetryPolicy | null
  readonly createdAt: Date
  readonly readyAt: Date
  /** Errors of earlier attempts. */
  readonly errors: readonly JobError[] | null
}

/** From so many crashes on a job is a suspect: no claim takes it but claimSuspect..., see suspects.ts. */
export const SUSPECT_CRASHES = 2

/** A job's place in the order of claiming, lowest first: 16 bits of priority, 47 bits of position. */
export const claimRank = (priority: number, position: number): bigint => BigInt(position) - (BigInt(priority) << 47n)

/**
 * Moves ready jobs into one lease (workerId, number), highest priority first, then oldest first. The lease is the proof of
 * holding them; the pair must be new. Answers the jobs in that order; an empty list leaves no lease. After a crash of the
 * worker the lease stays until a rescue.
 */
export const claimIntoLease = defineClaim<ClaimRequest & LeaseRequest>('claim_into_lease', (parts) =>
  leaseOf(parts, removeReadyJobs(parts)),
)

/** The lease that a claim makes. */
export interface LeaseRequest {
  readonly number: number
  /** Its jobs are finished in transactions on connections that hold the worker's liveness lock: see finishHeld. Default false. */
  readonly transactional?: boolean
}

/**
 * Removes ready jobs and answers them: the whole claim of at-most-once jobs. Inside a transaction they come back if it does not
 * commit.
 */
export const claimAndDelete = defineClaim<ClaimRequest>('claim_and_delete', (parts) => batchOf(removeReadyJobs(parts)))

/** A batch as one row of texts, whatever the client's type parsers are. See textsOf. */
interface BatchRow {
  ids: string
  positions: string
  /** JSON arrays, of one element when all jobs have the same: */
  priorities: string
  attempts: string
  crash_counts: string
  queues: string
  tasks: string
  /** JSON texts with SEPARATOR in between, empty where there is none: */
  args: string
  retries: string
  metas: string
  errors: string
  /** Arrays in PostgreSQL's binary form, in hex: */
  created_ats: string
  ready_ats: string
}

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
          and (job.position - (job.priority::bigint << 47)) > range.after
          and (job.position - (job.priority::bigint << 47)) <= range.upto
        order by (job.position - (job.priority::bigint << 47))
        limit ${param('limit')}
        for update skip locked
      ) as ready
      where ${isNotPaused({ table }, sql`range.queue`)}
      limit ${param('limit')}
    ) as candidate
  )::tid[])
  returning *`

/** The removed rows as arrays, in the order of storage: what a lease holds. */
const ARRAYS = {
  ids: sql`array_agg(id)`,
  positions: sql`array_agg(position)`,
  priorities: sql`array_agg(priority)`,
  attempts: sql`array_agg((attempt + 1)::smallint)`,
  crash_counts: sql`array_agg(crash_count)`,
  queues: sql`array_agg(queue)`,
  tasks: sql`array_agg(task)`,
  args: sql`array_agg(args)`,
  retries: sql`array_agg(retry)`,
  metas: sql`array_agg(meta)`,
  errors: sql`array_agg(errors)`,
  created_ats: sql`array_agg(created_at)`,
  ready_ats: sql`array_agg(ready_at)`,
}
const COLUMNS = sql.join(Object.keys(ARRAYS).map((name) => sql.id(name)))

/** Arrays as texts. */
const TEXTS = (() => {
  const plain = (name: string) => sql`${sql.id(name)}::text`
  const oneForAll = (name: string) => {
    const array = sql.id(name)
    const isOne = sql`${array} = array_fill(${array}[1], array[cardinality(${array})])`
    return sql`array_to_json(case when ${isOne} then ${array}[1:1] else ${array} end)::text as ${array}`
  }
  const joined = (name: string) => sql`array_to_string(${sql.id(name)}, ${sql.lit(SEPARATOR)}, '') as ${sql.id(name)}`
  const binary = (name: string) => sql`encode(array_send(${sql.id(name)}), 'hex') as ${sql.id(name)}`
  return sql.join([
    ...['ids', 'positions'].map(plain),
    ...['priorities', 'attempts', 'crash_counts', 'queues', 'tasks'].map(oneForAll),
    ...['args', 'retries', 'metas', 'errors'].map(joined),
    ...['created_ats', 'ready_ats'].map(binary),
  ])
})()

/** Moves the removed rows into a lease, and answers it as one row of texts. */
export const leaseOf = (
  { table, param }: StatementParts<LeaseRequest & { readonly workerId: number }>,
  removed: RawBuilder<unknown>,
): RawBuilder<BatchRow> => sql`
  with claimed as (${removed})
  insert into ${table('leases')} (worker_id, number, transactional, ${COLUMNS})
  select ${param('workerId')}, ${param('number')}, coalesce(${param('transactional')}, false), ${sql.join(Object.values(ARRAYS))}
  from claimed
  having count(*) > 0
  returning ${TEXTS}`

/** Answers the removed rows as one row of texts. */
export const batchOf = (removed: RawBuilder<unknown>): RawBuilder<BatchRow> => sql`
  with claimed as (${removed}),
  batch (${COLUMNS}) as (select ${sql.join(Object.values(ARRAYS))} from claimed having count(*) > 0)
  select ${TEXTS} from batch`

/** Reads a lease back whose claim was sent but whose answer was lost; empty when the claim did not happen. */
export const readLease = defineClaim<{ readonly workerId: number; readonly number: number }>(
  'read_lease',
  ({ table, param }) => sql`
    select ${TEXTS} from ${table('leases')} where worker_id = ${param('workerId')} and number = ${param('number')}`,
)

/** A statement that answers jobs. */
export function defineClaim<Request extends object>(
  name: string,
  write: (parts: StatementParts<Request>) => RawBuilder<BatchRow>,
) {
  const statement = defineStatement<Request, BatchRow>(name, write)
  return async (executor: Executor, schema: string, request: Request): Promise<ClaimedJob[]> =>
    readBatch(await statement(executor, schema, request))
}

/** Takes the texts apart, into jobs in the order of claiming (a DELETE answers in the order of storage). */
function readBatch([row]: BatchRow[]): ClaimedJob[] {
  if (!row) return []
  const positions: number[] = JSON.parse(`[${row.positions.slice(1, -1)}]`)
  const priorities = oneForAll<number>(row.priorities)
  const attempts = oneForAll<number>(row.attempts)
  const crashCounts = oneForAll<number>(row.crash_counts)
  const queues = oneForAll<string>(row.queues)
  const tasks = oneForAll<string>(row.tasks)
  const argsTexts = row.args.split(SEPARATOR)
  const args: unknown[] = JSON.parse(`[${argsTexts.join()}]`)
  const retries = someOf<RetryPolicy>(row.retries, positions.length)
  const metas = someOf<JobMeta>(row.metas, positions.length)
  const errors = someOf<JobError[]>(row.errors, positions.length)
  const createdAts = instantsOf(row.created_ats)
  const readyAts = instantsOf(row.ready_ats)
  const jobs: ClaimedJob[] = []
  for (const id of row.ids.slice(1, -1).split(',')) {
    const index = jobs.length
    jobs.push({
      id,
      ordinal: index + 1,
      position: positions[index]!,
      priority: priorities(index),
      attempt: attempts(index),
      crashCount: crashCounts(index),
      queue: queues(index),
      task: tasks(index),
      args: args[index],
      argsText: argsTexts[index]!,
      meta: metas(index),
      retry: retries(index),
      createdAt: createdAts(index),
      readyAt: readyAts(index),
      errors: errors(index),
    })
  }
  return jobs.sort((a, b) => b.priority - a.priority || a.position - b.position)
}

/** Reads a JSON array whose only element counts for all. */
function oneForAll<Value>(json: string): (index: number) => Value {
  const values: Value[] = JSON.parse(json)
  return (index) => (values.length === 1 ? values[0]! : values[index]!)
}

/** Reads JSON texts of which most are empty, or equal to the one before: jobs of one call carry the same. */
function someOf<Value>(texts: string, length: number): (index: number) => Value | null {
  if (texts.length === length - 1) return () => null
  let last: string | undefined
  let value: Value | null = null
  const values = texts.split(SEPARATOR).map((text) => {
    if (text !== last) value = text === '' ? null : JSON.parse(text)
    last = text
    return value
  })
  return (index) => values[index]!
}

/** 2000-01-01, from which PostgreSQL counts its microseconds. */
const EPOCH_MS = Date.UTC(2000)

/** Reads an array of timestamps: 20 bytes about the array; then the length of each, four bytes, and its eight. */
function instantsOf(hex: string): (index: number) => Date {
  const bytes = Buffer.from(hex, 'hex')
  return (index) => {
    const at = 24 + index * 12
    return new Date(EPOCH_MS + (bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)) / 1_000)
  }
}

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
  ({ table, param, nextPosition }) => sql`
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
          order by (job.position - (job.priority::bigint << 47))
          limit 1
        ) as front
        where ${isNotPaused({ table }, sql`wanted.queue`)}
      ) as ready,
      exists (
        select from ${table('jobs')} where execute_at is null and crash_count >= ${sql.lit(SUSPECT_CRASHES)}
      ) as suspects`,
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
      order by (job.position - (job.priority::bigint << 47))
      limit 1000
    ) as front
    where not front.task = any (${param('tasks')}::text[])
    limit 20`,
)
