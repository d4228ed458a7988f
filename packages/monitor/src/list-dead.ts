import { type DeadReason, type Executor, type JobError, sql } from '@pgq/core'
import { type ListedJob, lastErrorOf, listedJob, PAGE_OPTIONS, type Page, type PageRequest } from './page.js'
import { checkCall, dateOf, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { defineWalk, type InstantCursor, instantCursor, readInstantCursor, type WalkedOrder } from './walk.js'

/** A dead letter. */
export interface DeadJob extends ListedJob {
  readonly diedAt: Date
  /** Attempts used up, failed for good, cancelled, or its workers were lost too often. */
  readonly reason: DeadReason
  /** What it died of, if it failed. getJob answers the errors before it. */
  readonly lastError?: JobError
}

/** Lists the dead letters, the newest first. A page looks at 25,000 of them at the most, as of listReady(). */
export async function listDead(
  executor: Executor,
  request: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<DeadJob>> {
  checkCall('listDead', request, PAGE_OPTIONS, options)
  return askDead(executor, options, request, readInstantCursor(request.after), (row) => ({
    ...listedJob(row, request.withArgs),
    diedAt: dateOf(row.diedAt),
    reason: row.reason,
    ...lastErrorOf(row.lastError),
  }))
}

interface DeadRow {
  diedAt: EpochMs
  reason: DeadReason
  lastError: unknown
}

export const deadJobs: WalkedOrder = {
  from: 'dead_jobs',
  where: sql`true`,
  order: [sql`job.died_at`, sql`job.id`],
  direction: 'desc',
}

const askDead = defineWalk<InstantCursor, DeadRow>('list_dead', ({ param }) => ({
  ...deadJobs,
  behind: sql`
    (job.died_at, job.id) < (coalesce(${param('afterAt')}::timestamptz, 'infinity'), coalesce(${param('afterId')}::bigint, 9223372036854775807))`,
  cursor: instantCursor(sql`job.died_at`),
  columns: sql`${epochMs(sql`job.died_at`)} as "diedAt", job.reason, job.errors -> -1 as "lastError"`,
}))
