import { type RawBuilder, sql } from 'kysely'
import type { Executor } from './executor.js'
import {
  type DeadJobFilter,
  type FilterParams,
  filterParams,
  fitsDead,
  fitsWaiting,
  type JobFilters,
  selectLeased,
  type WaitingJobFilter,
  wasThere,
} from './job-filter.js'
import { checkPriority, DEFAULT_SCHEMA } from './names.js'
import { checkOptionNames, optionNames } from './option-names.js'
import { waitsAlready } from './settle.js'
import { defineStatement, type Statement, type StatementParts } from './statement.js'

/** Where the schema is, and how many jobs one call takes at most. */
export interface ManageOptions {
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
  /** Default 10,000, at most 100,000 (countMatching: 10,000,000). Call again while it answers as many. */
  readonly limit?: number
  /** Leaves out what came, or came back, after this instant of databaseTime(): call after call then hits no job twice. */
  readonly asOf?: string
}

const OPTIONS = optionNames<ManageOptions>({ schema: true, limit: true, asOf: true })

/** The clock of the database, for `asOf`: with its microseconds, which a Date does not hold. */
export async function databaseTime(executor: Executor): Promise<string> {
  const [row] = await timeStatement(executor, DEFAULT_SCHEMA, {})
  return row!.at
}

const timeStatement = defineStatement<object, { at: string }>(
  'database_time',
  () => sql`select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at`,
)

/**
 * Redrives dead letters: they go back into their queues with their attempts and crashes counted from zero, their error
 * history kept. Answers how many.
 */
export const redriveDeadJobs = (executor: Executor, filter: DeadJobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, redriveStatement, 'dead', filter, options)

// A request to cancel that came while the job was dying is over with that.
const redriveStatement = defineStatement<FilterParams, Count>('redrive_dead_jobs', (parts) => {
  const { table, routine } = parts
  return sql`
    with redriven as (
      delete from ${table('dead_jobs')} as dead
      where id in (${selectDead(parts)}) and not ${waitsAlready(parts, sql`dead.id`)}
      returning id, created_at, priority, queue, task, args, retry, meta, errors
    ), requeued as (
      insert into ${table('jobs')} (id, created_at, priority, queue, task, args, retry, meta, errors)
      select * from redriven order by id
      returning queue
    ), forgotten as (
      delete from ${table('cancellations')} where job_id in (select id from redriven)
    )
    select count(*)::integer as jobs, ${routine('ring_doorbell')}(array_agg(distinct queue)) from requeued`
})

/** Deletes dead letters for good. Answers how many. */
export const deleteDeadJobs = (executor: Executor, filter: DeadJobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, deleteDeadStatement, 'dead', filter, options)

const deleteDeadStatement = defineStatement<FilterParams, Count>(
  'delete_dead_jobs',
  (parts) => sql`
    with deleted as (
      delete from ${parts.table('dead_jobs')} where id in (${selectDead(parts)}) returning 1
    )
    select count(*)::integer as jobs from deleted`,
)

/** Deletes jobs that wait. Those that run are not touched. Answers how many. */
export const deleteWaitingJobs = (
  executor: Executor,
  filter: WaitingJobFilter,
  options?: ManageOptions,
): Promise<number> => manage(executor, deleteWaitingStatement, 'waiting', filter, options)

const deleteWaitingStatement = defineStatement<FilterParams, Count>(
  'delete_waiting_jobs',
  (parts) => sql`
    with deleted as (
      delete from ${parts.table('jobs')} where id in (${selectWaiting(parts)}) returning 1
    )
    select count(*)::integer as jobs from deleted`,
)

/** Makes scheduled jobs (delayed ones, and those that wait for a retry) ready now; parked ones still wait for their key. Answers how many. */
export const retryScheduledJobs = (
  executor: Executor,
  filter: Omit<WaitingJobFilter, 'state'>,
  options?: ManageOptions,
): Promise<number> => manage(executor, retryStatement, 'waiting', filter, options)

// A job that was made ready and comes back for a retry has been ready since: asOf leaves it out by that.
const retryStatement = defineStatement<FilterParams, Count>('retry_scheduled_jobs', (parts) => {
  const { table, routine, nextPosition } = parts
  const scheduled = sql`job.execute_at < 'infinity' and ${wasThere(parts, sql`job.ready_at`)}`
  return sql`
    with hurried as (
      update ${table('jobs')} set execute_at = null, ready_at = now(), position = ${nextPosition}
      where id in (${selectWaiting(parts, scheduled)})
      returning queue
    )
    select count(*)::integer as jobs, ${routine('ring_doorbell')}(array_agg(distinct queue)) from hurried`
})

/**
 * Gives waiting jobs another priority. They keep their places by age: among the jobs of the new priority, the older ones come
 * first. A busy worker heeds it within a second. Answers how many had another one before.
 */
export async function setPriority(
  executor: Executor,
  filter: WaitingJobFilter,
  priority: number,
  options?: ManageOptions,
): Promise<number> {
  checkPriority(priority, 'setPriority')
  return manage(executor, priorityStatement, 'waiting', filter, options, { priority })
}

const priorityStatement = defineStatement<FilterParams & { priority: number }, Count>('set_priority', (parts) => {
  const priority = sql`${parts.param('priority')}::smallint`
  return sql`
    with moved as (
      update ${parts.table('jobs')} set priority = ${priority}
      where id in (${selectWaiting(parts, sql`job.priority <> ${priority}`)})
      returning 1
    )
    select count(*)::integer as jobs from moved`
})

/**
 * Counts the jobs that a call with this filter would hit, for a preview: `dead` is what redriveDeadJobs and deleteDeadJobs
 * hit, `waiting` what deleteWaitingJobs and setPriority hit, `unfinished` what cancelJobs hits. Counts up to the limit: that
 * number means "so many or more". It may be as high as 10,000,000 here: counting holds no locks.
 */
export const countMatching = <Kind extends keyof JobFilters>(
  executor: Executor,
  kind: Kind,
  filter: JobFilters[Kind],
  options?: ManageOptions,
): Promise<number> =>
  manage(
    executor,
    kind === 'dead' ? countDeadStatement : countUnfinishedStatement,
    kind,
    filter,
    options,
    {},
    10_000_000,
  )

const countDeadStatement = defineStatement<FilterParams, Count>(
  'count_dead',
  (parts) => sql`
    select count(*)::integer as jobs
    from (
      select from ${parts.table('dead_jobs')} as dead where ${fitsDead(parts)} limit ${parts.param('limit')}::integer
    ) as found`,
)

const countUnfinishedStatement = defineStatement<FilterParams, Count>(
  'count_unfinished',
  (parts) => sql`
    select count(*)::integer as jobs
    from (
      select job.id from ${parts.table('jobs')} as job where ${fitsWaiting(parts)}
      union all ${selectLeased(parts)}
      limit ${parts.param('limit')}::integer
    ) as found`,
)

interface Count {
  jobs: number
}

const selectWaiting = (parts: StatementParts<FilterParams>, beside: RawBuilder<unknown> = sql`true`) => sql`
  select job.id from ${parts.table('jobs')} as job
  where ${fitsWaiting(parts)} and ${beside}
  order by job.id
  limit ${parts.param('limit')}::integer
  for update of job skip locked`

const selectDead = (parts: StatementParts<FilterParams>) => sql`
  select dead.id from ${parts.table('dead_jobs')} as dead
  where ${fitsDead(parts)}
  order by dead.id
  limit ${parts.param('limit')}::integer
  for update of dead skip locked`

/** Runs a statement that counts, for the jobs of a filter. */
export async function manage<Kind extends keyof JobFilters, More extends object>(
  executor: Executor,
  statement: Statement<FilterParams & More, Count>,
  kind: Kind,
  filter: JobFilters[Kind],
  options: ManageOptions = {},
  more = {} as More,
  maxLimit = 100_000,
): Promise<number> {
  checkOptionNames(options, OPTIONS, 'The call')
  const { schema = DEFAULT_SCHEMA, limit = 10_000, asOf } = options
  const [row] = await statement(executor, schema, { ...filterParams(kind, filter, limit, maxLimit, asOf), ...more })
  return row?.jobs ?? 0
}
