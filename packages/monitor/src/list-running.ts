import { type Executor, isUnsettled, sql } from '@pgq/core'
import {
  argsContain,
  checkLimit,
  LIST_OPTIONS,
  type ListedJob,
  type ListedRow,
  type ListRequest,
  listedColumns,
  listedJob,
  listParams,
} from './page.js'
import {
  checkCall,
  dateOf,
  defineArgsQuestion,
  type EpochMs,
  epochMs,
  hasKey,
  type MonitorOptions,
  matches,
} from './question.js'
import { type JobWorker, modeOfLease, type RunningMode } from './running.js'

/** A job that a worker holds: its handler runs, or is about to. */
export interface RunningJob extends ListedJob {
  readonly worker: JobWorker
  readonly mode: RunningMode
  /** When it was claimed. */
  readonly since: Date
}

/**
 * Lists running jobs, those that run longest first. At-most-once jobs are not among them: they leave the database when
 * they are claimed.
 */
export async function listRunning(
  executor: Executor,
  request: ListRequest = {},
  options: MonitorOptions = {},
): Promise<RunningJob[]> {
  checkCall('listRunning', request, LIST_OPTIONS, options)
  const params = { ...listParams(request), limit: checkLimit(request.limit) }
  const rows = await askRunning(executor, options, params)
  return rows.map((row) => ({ ...listedJob(row, request.withArgs), ...runningPart(row) }))
}

/** What a row tells of the run itself. */
export interface RunningPart {
  mode: RunningMode
  workerId: number
  hostname: string
  pid: number
  since: EpochMs
}

export const runningPart = ({ workerId, hostname, pid, mode, since }: RunningPart) => ({
  worker: { id: workerId, hostname, pid },
  mode,
  since: dateOf(since),
})

interface RunningParams {
  readonly queue: string | null
  readonly task: string | null
  readonly key: string | null
  readonly argsText: string | null
  readonly limit: number
}

/** Args come out of a lease by unnest, all at once: a subscript would unpack them for each. */
const askRunning = defineArgsQuestion<RunningParams, ListedRow & RunningPart>('list_running', (parts, args) => {
  const { table, param } = parts
  return sql`
    select
      ${listedColumns('running')}, running.mode, running.worker_id as "workerId", ${epochMs(sql`running.since`)} as since,
      coalesce(worker.hostname, '') as hostname, coalesce(worker.pid, 0) as pid, running.args
    from (
      select
        place.id, place.queue, place.task, place.priority, place.attempt, place.crash_count, place.created_at,
        ${modeOfLease} as mode, lease.worker_id, lease.claimed_at as since, place.args
      from ${table('leases')} as lease
      cross join lateral unnest(
        lease.ids, lease.queues, lease.tasks, lease.priorities, lease.attempts, lease.crash_counts, lease.created_ats,
        ${args('lease.args')}::json[]
      ) with ordinality as place (id, queue, task, priority, attempt, crash_count, created_at, args, ordinal)
      where ${isUnsettled(parts, sql`place.ordinal`)}
    ) as running
    left join ${table('workers')} as worker on worker.id = running.worker_id
    where ${matches('running', param)} and (${param('key')}::text is null or ${hasKey(parts, sql`running.id`)})
      and ${argsContain(sql`running.args`, param('argsText'))}
    order by running.since, running.id
    limit ${param('limit')}::integer`
})
