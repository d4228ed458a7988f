import type { Executor } from '@pgq/core'
import { sql } from 'kysely'
import {
  checkLimit,
  type ListedJob,
  type ListedRow,
  listedColumns,
  listedJob,
  type Page,
  type PageRequest,
  pageOf,
  readCursor,
} from './page.js'
import { dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { queuesIn } from './queues-in.js'
import { isNotHeld } from './running.js'

/** A job that may run now. */
export interface ReadyJob extends ListedJob {
  /** Since when it could have been running. */
  readonly readyAt: Date
}

/** Lists the jobs that may run now, in the order of claiming: higher priority first, then first come. */
export async function listReady(
  executor: Executor,
  { queue, task, after, limit, withArgs = false }: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<ReadyJob>> {
  const [rank = null] = readCursor(after, /^(-?\d{1,19})$/) ?? []
  const size = checkLimit(limit)
  const rows = await askReady(executor, options, {
    queue: queue ?? null,
    task: task ?? null,
    after: rank,
    limit: size + 1,
    withArgs,
  })
  return pageOf(rows, size, (row) => ({ ...listedJob(row, withArgs), readyAt: dateOf(row.readyAt) }))
}

interface ReadyParams {
  readonly queue: string | null
  readonly task: string | null
  readonly after: string | null
  readonly limit: number
  readonly withArgs: boolean
}

interface ReadyRow extends ListedRow {
  readyAt: EpochMs
  cursor: string
}

/**
 * At most `limit` rows of each queue, by the index of claiming, then the first of them all. Over all queues at once it would
 * sort every ready job.
 */
const askReady = defineQuestion<ReadyParams, ReadyRow>('list_ready', (parts) => {
  const { table, param } = parts
  return sql`
    with recursive ${queuesIn(table('jobs'), sql`job.execute_at is null`, param('queue'))}
    select
      ${listedColumns('job')}, ${epochMs(sql`job.ready_at`)} as "readyAt", job.rank::text as cursor,
      case when ${param('withArgs')}::boolean then job.args end as args
    from found
    cross join lateral (
      select job.*, job.position - (job.priority::bigint << 47) as rank
      from ${table('jobs')} as job
      where job.queue = found.queue and job.execute_at is null
        and (job.position - (job.priority::bigint << 47)) > coalesce(${param('after')}::bigint, -9223372036854775808)
        and (${param('task')}::text is null or job.task = ${param('task')})
        and ${isNotHeld(parts, sql`job.id`)}
      order by (job.position - (job.priority::bigint << 47))
      limit ${param('limit')}::integer
    ) as job
    order by job.rank
    limit ${param('limit')}::integer`
})
