import type { DeadReason, Executor, JobError } from '@pgq/core'
import { sql } from 'kysely'
import { instantCursor } from './list-scheduled.js'
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

/** A dead letter. */
export interface DeadJob extends ListedJob {
  readonly diedAt: Date
  /** Attempts used up, failed for good, cancelled, or its workers were lost too often. */
  readonly reason: DeadReason
  /** What it died of, if it failed. getJob answers the errors before it. */
  readonly lastError?: JobError
}

/** Lists the dead letters, the newest first. */
export async function listDead(
  executor: Executor,
  { queue, task, after, limit, withArgs = false }: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<DeadJob>> {
  const [afterAt = null, afterId = null] = readCursor(after, instantCursor) ?? []
  const size = checkLimit(limit)
  const rows = await askDead(executor, options, {
    queue: queue ?? null,
    task: task ?? null,
    afterAt,
    afterId,
    limit: size + 1,
    withArgs,
  })
  return pageOf(rows, size, (row) => ({
    ...listedJob(row, withArgs),
    diedAt: dateOf(row.diedAt),
    reason: row.reason,
    ...lastErrorOf(row.lastError),
  }))
}

interface DeadParams {
  readonly queue: string | null
  readonly task: string | null
  readonly afterAt: string | null
  readonly afterId: string | null
  readonly limit: number
  readonly withArgs: boolean
}

interface DeadRow extends ListedRow {
  diedAt: EpochMs
  reason: DeadReason
  lastError: JobError | null
  cursor: string
}

/** At most `limit` rows of each queue, by the index of their deaths, then the first of them all. */
const askDead = defineQuestion<DeadParams, DeadRow>(
  'list_dead',
  ({ table, param }) => sql`
    with recursive ${queuesIn(table('dead_jobs'), sql`true`, param('queue'))}
    select
      ${listedColumns('dead')}, ${epochMs(sql`dead.died_at`)} as "diedAt", dead.reason, dead.errors -> -1 as "lastError",
      (to_json(dead.died_at) #>> '{}') || ' ' || dead.id as cursor,
      case when ${param('withArgs')}::boolean then dead.args end as args
    from found
    cross join lateral (
      select job.*
      from ${table('dead_jobs')} as job
      where job.queue = found.queue and job.died_at <= coalesce(${param('afterAt')}::timestamptz, 'infinity')
        and (${param('afterId')}::bigint is null
          or (job.died_at, job.id) < (${param('afterAt')}::timestamptz, ${param('afterId')}::bigint))
        and (${param('task')}::text is null or job.task = ${param('task')})
      order by job.died_at desc, job.id desc
      limit ${param('limit')}::integer
    ) as dead
    order by dead.died_at desc, dead.id desc
    limit ${param('limit')}::integer`,
)
