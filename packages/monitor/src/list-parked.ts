import { concurrencyOf, type Executor, type JobMeta, sql } from '@pgq/core'
import { type ListedJob, listedJob, PAGE_OPTIONS, type Page, type PageRequest } from './page.js'
import { checkCall, dateOf, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { defineWalk, type InstantCursor, instantCursor, readInstantCursor, type WalkedOrder } from './walk.js'

/** A job that waits for others of its concurrency key to end. */
export interface ParkedJob extends ListedJob {
  /** Since when it could have been running. */
  readonly readyAt: Date
  /** Its concurrency key. Absent when SQL put off a job for ever that has none. */
  readonly concurrencyKey?: string
}

/** Lists the jobs that wait for others of their concurrency keys, the oldest first. A page looks at 25,000 jobs at the most, as of listReady(). */
export async function listParked(
  executor: Executor,
  request: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<ParkedJob>> {
  checkCall('listParked', request, PAGE_OPTIONS, options)
  return askParked(executor, options, request, readInstantCursor(request.after), (row) => {
    const place = concurrencyOf(row)
    return {
      ...listedJob(row, request.withArgs),
      readyAt: dateOf(row.readyAt),
      ...(place && { concurrencyKey: place.key }),
    }
  })
}

interface ParkedRow {
  readyAt: EpochMs
  meta: JobMeta | null
}

// A range, not an equality: the index of parked jobs has another order, and the planner would read and sort all of it.
export const parkedJobs: WalkedOrder = {
  from: 'jobs',
  where: sql`job.execute_at is not null`,
  order: [sql`job.execute_at`, sql`job.id`],
  range: sql`job.execute_at >= 'infinity'`,
}

const askParked = defineWalk<InstantCursor, ParkedRow>('list_parked', ({ param }) => ({
  ...parkedJobs,
  behind: sql`
    (job.execute_at, job.id) > (coalesce(${param('afterAt')}::timestamptz, 'infinity'), coalesce(${param('afterId')}::bigint, -1))`,
  cursor: instantCursor(sql`job.execute_at`),
  columns: sql`${epochMs(sql`job.ready_at`)} as "readyAt", job.meta`,
}))
