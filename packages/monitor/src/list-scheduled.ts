import type { Executor, JobError } from '@pgq/core'
import { sql } from 'kysely'
import {
  checkLimit,
  type ListedJob,
  type ListedRow,
  lastErrorOf,
  listedColumns,
  listedJob,
  type Page,
  type PageRequest,
  pageOf,
  readCursor,
} from './page.js'
import { dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { queuesIn } from './queues-in.js'

/** A job that waits for its time: a delayed one, or one that waits for its next attempt. */
export interface ScheduledJob extends ListedJob {
  /** When it is due; an instant in the past while no worker has promoted it. */
  readonly executeAt: Date
  /** Why it waits, if it has failed before. */
  readonly lastError?: JobError
}

/** Lists the jobs that wait for their time, the next one first. */
export async function listScheduled(
  executor: Executor,
  { queue, task, after, limit, withArgs = false }: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<ScheduledJob>> {
  const [afterAt = null, afterId = null] = readCursor(after, instantCursor) ?? []
  const size = checkLimit(limit)
  const rows = await askScheduled(executor, options, {
    queue: queue ?? null,
    task: task ?? null,
    afterAt,
    afterId,
    limit: size + 1,
    withArgs,
  })
  return pageOf(rows, size, (row) => ({
    ...listedJob(row, withArgs),
    executeAt: dateOf(row.executeAt),
    ...lastErrorOf(row.lastError),
  }))
}

/** An instant in microseconds, as PostgreSQL writes it in JSON, and an id. */
export const instantCursor = /^(-?infinity|[-0-9T:.+]{10,40}) (\d{1,19})$/

interface ScheduledParams {
  readonly queue: string | null
  readonly task: string | null
  readonly afterAt: string | null
  readonly afterId: string | null
  readonly limit: number
  readonly withArgs: boolean
}

interface ScheduledRow extends ListedRow {
  executeAt: EpochMs
  lastError: JobError | null
  cursor: string
}

/** At most `limit` rows of each queue, by the index of due times, then the first of them all. */
const askScheduled = defineQuestion<ScheduledParams, ScheduledRow>(
  'list_scheduled',
  ({ table, param }) => sql`
    with recursive ${queuesIn(table('jobs'), sql`job.execute_at is not null`, param('queue'))}
    select
      ${listedColumns('job')}, ${epochMs(sql`job.execute_at`)} as "executeAt", job.errors -> -1 as "lastError",
      (to_json(job.execute_at) #>> '{}') || ' ' || job.id as cursor,
      case when ${param('withArgs')}::boolean then job.args end as args
    from found
    cross join lateral (
      select job.*
      from ${table('jobs')} as job
      where job.queue = found.queue and job.execute_at >= coalesce(${param('afterAt')}::timestamptz, '-infinity')
        and (job.execute_at, job.id) > (coalesce(${param('afterAt')}::timestamptz, '-infinity'), coalesce(${param('afterId')}::bigint, -1))
        and (${param('task')}::text is null or job.task = ${param('task')})
      order by job.execute_at, job.id
      limit ${param('limit')}::integer
    ) as job
    order by job.execute_at, job.id
    limit ${param('limit')}::integer`,
)
