import { sql } from 'kysely'
import { InvalidOptionError } from './errors.js'
import { type Executor, run } from './executor.js'
import { DEFAULT_SCHEMA } from './names.js'
import { defineStatement } from './statement.js'

/** Which jobs: all that fit every condition given. At least one is needed, so that no call means "all" by mistake. */
export interface JobFilter {
  readonly ids?: readonly string[]
  readonly queue?: string
  readonly task?: string
}

interface FilterParams {
  readonly ids: string | null
  readonly queue: string | null
  readonly task: string | null
  readonly limit: number
}

/** Where the schema is, and how many jobs one call takes at most (default 10,000; call again while it answers as many). */
export interface ManageOptions {
  readonly schema?: string
  readonly limit?: number
}

/**
 * Redrives dead letters: they go back into their queues with their attempts and crashes counted from zero, their error
 * history kept. Answers how many.
 */
export const redriveDeadJobs = (executor: Executor, filter: JobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, redriveStatement, filter, options)

const redriveStatement = defineStatement<FilterParams, { jobs: number }>(
  'redrive_dead_jobs',
  ({ table, param, routine }) => sql`
    with redriven as (
      delete from ${table('dead_jobs')} where id in (${selectJobs(table('dead_jobs'), param)})
      returning id, created_at, priority, queue, task, args, retry, errors
    ), requeued as (
      insert into ${table('jobs')} (id, created_at, priority, queue, task, args, retry, errors)
      select * from redriven order by id
      returning queue
    )
    select count(*)::integer as jobs, ${routine('ring_doorbell')}(array_agg(distinct queue)) from requeued`,
)

/** Deletes dead letters for good. Answers how many. */
export const deleteDeadJobs = (executor: Executor, filter: JobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, deleteDeadStatement, filter, options)

const deleteDeadStatement = defineStatement<FilterParams, { jobs: number }>(
  'delete_dead_jobs',
  ({ table, param }) => sql`
    with deleted as (
      delete from ${table('dead_jobs')} where id in (${selectJobs(table('dead_jobs'), param)}) returning 1
    )
    select count(*)::integer as jobs from deleted`,
)

/** Deletes jobs that wait, ready or scheduled. Running jobs are not touched. Answers how many. */
export const deleteWaitingJobs = (executor: Executor, filter: JobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, deleteWaitingStatement, filter, options)

const deleteWaitingStatement = defineStatement<FilterParams, { jobs: number }>(
  'delete_waiting_jobs',
  ({ table, param }) => sql`
    with deleted as (
      delete from ${table('jobs')} where id in (${selectJobs(table('jobs'), param)}) returning 1
    )
    select count(*)::integer as jobs from deleted`,
)

/** Makes scheduled jobs (delayed ones, and those that wait for a retry) ready now. Answers how many. */
export const retryScheduledJobs = (executor: Executor, filter: JobFilter, options?: ManageOptions): Promise<number> =>
  manage(executor, retryStatement, filter, options)

const retryStatement = defineStatement<FilterParams, { jobs: number }>(
  'retry_scheduled_jobs',
  ({ table, param, routine, nextPosition }) => sql`
    with hurried as (
      update ${table('jobs')} set execute_at = null, ready_at = now(), position = ${nextPosition}
      where execute_at is not null and id in (${selectJobs(table('jobs'), param)})
      returning queue
    )
    select count(*)::integer as jobs, ${routine('ring_doorbell')}(array_agg(distinct queue)) from hurried`,
)

const selectJobs = (table: ReturnType<typeof sql>, param: (name: keyof FilterParams) => ReturnType<typeof sql>) => sql`
  select id from ${table}
  where (${param('ids')}::text is null or id = any (array(select json_array_elements_text(${param('ids')}::json)::bigint)))
    and (${param('queue')}::text is null or queue = ${param('queue')})
    and (${param('task')}::text is null or task = ${param('task')})
  order by id
  limit ${param('limit')}::integer
  for update skip locked`

async function manage(
  executor: Executor,
  statement: typeof redriveStatement,
  filter: JobFilter,
  { schema = DEFAULT_SCHEMA, limit = 10_000 }: ManageOptions = {},
): Promise<number> {
  const { ids, queue, task } = filter
  if (ids === undefined && queue === undefined && task === undefined) {
    throw new InvalidOptionError('Name the jobs: give ids, queue or task.')
  }
  for (const id of ids ?? []) {
    if (!/^\d{1,19}$/.test(id))
      throw new InvalidOptionError(`${JSON.stringify(id)} is no job id: ids are digits in a string.`)
  }
  const params = { ids: ids ? JSON.stringify(ids) : null, queue: queue ?? null, task: task ?? null, limit }
  const [row] = await run(executor, schema, statement, params)
  return row?.jobs ?? 0
}
