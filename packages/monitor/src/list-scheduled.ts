import { type Executor, type JobError, sql } from '@pgq/core'
import { type ListedJob, lastErrorOf, listedJob, PAGE_OPTIONS, type Page, type PageRequest } from './page.js'
import { checkCall, dateOf, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { defineWalk, type InstantCursor, instantCursor, readInstantCursor, type WalkedOrder } from './walk.js'

/** A job that waits for its time: a delayed one, or one that waits for its next attempt. */
export interface ScheduledJob extends ListedJob {
  /** When it is due; an instant in the past while no worker has promoted it. */
  readonly executeAt: Date
  /** Why it waits, if it has failed before. */
  readonly lastError?: JobError
}

/** Lists the jobs that wait for their time, the next one first. A page looks at 25,000 jobs at the most, as of listReady(). */
export async function listScheduled(
  executor: Executor,
  request: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<ScheduledJob>> {
  checkCall('listScheduled', request, PAGE_OPTIONS, options)
  return askScheduled(executor, options, request, readInstantCursor(request.after), (row) => ({
    ...listedJob(row, request.withArgs),
    executeAt: dateOf(row.executeAt),
    ...lastErrorOf(row.lastError),
  }))
}

interface ScheduledRow {
  executeAt: EpochMs
  lastError: unknown
}

export const scheduledJobs: WalkedOrder = {
  from: 'jobs',
  where: sql`job.execute_at is not null`,
  order: [sql`job.execute_at`, sql`job.id`],
  range: sql`job.execute_at < 'infinity'`,
}

const askScheduled = defineWalk<InstantCursor, ScheduledRow>('list_scheduled', ({ param }) => ({
  ...scheduledJobs,
  behind: sql`
    job.execute_at < 'infinity'
    and (job.execute_at, job.id) > (coalesce(${param('afterAt')}::timestamptz, '-infinity'), coalesce(${param('afterId')}::bigint, -1))`,
  cursor: instantCursor(sql`job.execute_at`),
  columns: sql`${epochMs(sql`job.execute_at`)} as "executeAt", job.errors -> -1 as "lastError"`,
}))
