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

/** How many jobs one page looks at, shared by the queues: 20 to 40 ms. */
const WALK = 50_000

/**
 * Lists the jobs that may run now, in the order of claiming: higher priority first, then first come. A page looks at 50,000
 * jobs at the most: of a task that is rare in a long queue it may hold few jobs, or none, and yet have a `next`.
 */
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
    walk: WALK,
    withArgs,
  })
  const page = pageOf(seenWhole(rows), size, (row) => ({ ...listedJob(row, withArgs), readyAt: dateOf(row.readyAt) }))
  const end = rows.find(({ isEnd }) => isEnd)
  return end && page.next === undefined ? { ...page, next: end.cursor } : page
}

/** Up to where the first queue was left: what others have behind that may come after what it has. */
function seenWhole(rows: readonly ReadyRow[]): readonly ReadyRow[] {
  const end = rows.findIndex(({ isEnd }) => isEnd)
  return (end < 0 ? rows : rows.slice(0, end + 1)).filter(({ fits }) => fits)
}

interface ReadyParams {
  readonly queue: string | null
  readonly task: string | null
  readonly after: string | null
  readonly limit: number
  readonly walk: number
  readonly withArgs: boolean
}

interface ReadyRow extends ListedRow {
  readyAt: EpochMs
  cursor: string
  fits: boolean
  /** The last job that was looked at in a queue that has more. */
  isEnd: boolean
}

/**
 * At most `limit` rows of each queue, by the index of claiming, then the first of them all. Over all queues at once it would
 * sort every ready job. The row where a queue is left comes along, whether it fits or not.
 */
const askReady = defineQuestion<ReadyParams, ReadyRow>('list_ready', (parts) => {
  const { table, param } = parts
  const limit = sql`${param('limit')}::integer`
  const share = sql`greatest(${param('walk')}::integer / (select count(*) from found), ${limit})`
  return sql`
    with recursive ${queuesIn(table('jobs'), sql`job.execute_at is null`, param('queue'))}
    select
      ${listedColumns('job')}, ${epochMs(sql`job.ready_at`)} as "readyAt", job.rank::text as cursor, job.fits,
      job.place = ${share} as "isEnd", case when ${param('withArgs')}::boolean then job.args end as args
    from found
    cross join lateral (
      select walked.*
      from (
        select
          job.*, job.position - (job.priority::bigint << 47) as rank,
          (${param('task')}::text is null or job.task = ${param('task')}) and ${isNotHeld(parts, sql`job.id`)} as fits,
          row_number() over (order by job.position - (job.priority::bigint << 47)) as place
        from ${table('jobs')} as job
        where job.queue = found.queue and job.execute_at is null
          and (job.position - (job.priority::bigint << 47)) > coalesce(${param('after')}::bigint, -9223372036854775808)
        order by (job.position - (job.priority::bigint << 47))
        limit ${share}
      ) as walked
      where walked.fits or walked.place = ${share}
      order by walked.rank
      limit ${limit}
    ) as job
    order by job.rank
    limit ${limit}`
})
