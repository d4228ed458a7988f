import { type Executor, jobRank, sql } from '@pgq/core'
import { type ListedJob, listedJob, PAGE_OPTIONS, type Page, type PageRequest, readCursor } from './page.js'
import { checkCall, dateOf, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { defineWalk, type WalkedOrder } from './walk.js'

/** A job that may run now. */
export interface ReadyJob extends ListedJob {
  /** Since when it could have been running. */
  readonly readyAt: Date
}

/**
 * Lists the jobs that may run now, in the order of claiming: higher priority first, then first come. A page looks at 25,000
 * jobs at the most: of a task that is rare in a long queue it may hold few jobs, or none, and yet have a `next`.
 */
export async function listReady(
  executor: Executor,
  request: PageRequest = {},
  options: MonitorOptions = {},
): Promise<Page<ReadyJob>> {
  checkCall('listReady', request, PAGE_OPTIONS, options)
  const [after = null] = readCursor(request.after, /^(-?\d{1,19})$/) ?? []
  return askReady(executor, options, request, { after }, (row) => ({
    ...listedJob(row, request.withArgs),
    readyAt: dateOf(row.readyAt),
  }))
}

export const readyJobs: WalkedOrder = { from: 'jobs', where: sql`job.execute_at is null`, order: [jobRank] }

const askReady = defineWalk<{ readonly after: string | null }, { readyAt: EpochMs }>('list_ready', ({ param }) => ({
  ...readyJobs,
  behind: sql`${jobRank} > coalesce(${param('after')}::bigint, -9223372036854775808)`,
  cursor: sql`${jobRank}::text`,
  columns: sql`${epochMs(sql`job.ready_at`)} as "readyAt"`,
}))
