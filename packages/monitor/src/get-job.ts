import {
  checkJobId,
  checkOptionNames,
  type DeadReason,
  type Executor,
  isUnsettled,
  type JobError,
  type JobMeta,
  optionNames,
  type RetryPolicy,
  sql,
  waitingState,
} from '@pgq/core'
import { type RunningPart, runningPart } from './list-running.js'
import { errorsOf, type ListedJob, type ListedRow, listedColumns, listedJob } from './page.js'
import { dateOf, defineArgsQuestion, type EpochMs, epochMs, type MonitorOptions, waitingSince } from './question.js'
import { type JobWorker, modeOfLease, type RunningMode } from './running.js'

/** A job with its history. */
export interface JobDetails extends ListedJob {
  /** Its own retry policy, where it has one. */
  readonly retry?: RetryPolicy
  /** What it carries beside its args: the `key` of a unique job; the `concurrencyKey` that it shares; the `schedule` and the `slot` that it came of; a trace context. */
  readonly meta: JobMeta | null
  /** Its failed attempts, oldest first; the newest 20 are kept. */
  readonly errors: readonly JobError[]
}

/** Where a job is, told apart by `state`. Missing: it finished, was deleted, or never was; pgq keeps no finished jobs. */
export type FoundJob =
  | { readonly state: 'missing'; readonly id: string }
  | ({ readonly state: 'ready'; readonly readyAt: Date } & JobDetails)
  | ({ readonly state: 'scheduled'; readonly executeAt: Date } & JobDetails)
  | ({ readonly state: 'parked'; readonly readyAt: Date } & JobDetails)
  | ({
      readonly state: 'running'
      readonly worker: JobWorker
      readonly mode: RunningMode
      readonly since: Date
    } & JobDetails)
  | ({ readonly state: 'dead'; readonly diedAt: Date; readonly reason: DeadReason } & JobDetails)

const OPTIONS = optionNames<MonitorOptions & { withArgs?: boolean }>({ schema: true, withArgs: true })

/** Finds one job, wherever it is. Its args only with `withArgs`. Throws InvalidOptionError when the id is not digits. */
export async function getJob(
  executor: Executor,
  id: string,
  options: MonitorOptions & { readonly withArgs?: boolean } = {},
): Promise<FoundJob> {
  checkOptionNames(options, OPTIONS, 'getJob')
  const { withArgs = false, ...where } = options
  const [row] = await askJob(executor, where, { id: checkJobId(id), withArgs })
  return row ? foundJob(row, withArgs) : { state: 'missing', id }
}

function foundJob(row: JobRow, withArgs: boolean): FoundJob {
  const details = {
    ...listedJob(row, withArgs),
    ...(row.retry && { retry: row.retry }),
    meta: isMeta(row.meta) ? row.meta : null,
    errors: errorsOf(row.errors),
  }
  switch (row.state) {
    case 'ready':
    case 'parked':
      return { state: row.state, ...details, readyAt: dateOf(row.since) }
    case 'scheduled':
      return { state: 'scheduled', ...details, executeAt: dateOf(row.since) }
    case 'dead':
      return { state: 'dead', ...details, diedAt: dateOf(row.since), reason: row.reason }
    case 'running':
      return { state: 'running', ...details, ...runningPart(row) }
  }
}

/** SQL may have written anything into that column. */
const isMeta = (meta: unknown): meta is JobMeta => typeof meta === 'object' && meta !== null && !Array.isArray(meta)

type JobRow = ListedRow & { retry: RetryPolicy | null; meta: unknown; errors: unknown } & (
    | { state: 'ready' | 'scheduled' | 'parked'; since: EpochMs }
    | { state: 'dead'; since: EpochMs; reason: DeadReason }
    | ({ state: 'running' } & RunningPart)
  )

/** Four looks by primary key, but for the leases: they are few, and only their ids are searched. */
const askJob = defineArgsQuestion<{ id: string }, JobRow>('get_job', (parts, args) => {
  const { table, param } = parts
  return sql`
    with found as (
      select
        job.id, job.queue, job.task, job.priority, job.attempt, job.crash_count, job.created_at,
        ${args('job.args')} as args, job.retry, job.meta, job.errors,
        ${waitingState} as state,
        ${waitingSince} as since, null::text as reason, null::text as mode, null::integer as worker_id
      from ${table('jobs')} as job
      where job.id = ${param('id')}::bigint
      union all
      select
        lease.ids[place.ordinal], lease.queues[place.ordinal], lease.tasks[place.ordinal], lease.priorities[place.ordinal], lease.attempts[place.ordinal],
        lease.crash_counts[place.ordinal], lease.created_ats[place.ordinal], (${args('lease.args')}::json[])[place.ordinal],
        lease.retries[place.ordinal], lease.metas[place.ordinal], lease.errors[place.ordinal], 'running', lease.claimed_at, null, ${modeOfLease}, lease.worker_id
      from ${table('leases')} as lease
      cross join lateral array_position(lease.ids, ${param('id')}::bigint) as place (ordinal)
      where place.ordinal is not null and ${isUnsettled(parts, sql`place.ordinal`)}
      union all
      select
        dead.id, dead.queue, dead.task, dead.priority, dead.attempt, dead.crash_count, dead.created_at,
        ${args('dead.args')}, dead.retry, dead.meta, dead.errors, 'dead', dead.died_at, dead.reason, null, null
      from ${table('dead_jobs')} as dead
      where dead.id = ${param('id')}::bigint
    )
    select
      ${listedColumns('job')}, job.state, ${epochMs(sql`job.since`)} as since, job.reason, job.mode, job.worker_id as "workerId",
      coalesce(worker.hostname, '') as hostname, coalesce(worker.pid, 0) as pid, job.retry, job.meta, job.errors, job.args
    from found as job left join ${table('workers')} as worker on worker.id = job.worker_id`
})
