import { type Executor, optionNames, sql } from '@pgq/core'
import { checkLimit } from './page.js'
import {
  checkCall,
  dateOf,
  defineQuestion,
  type EpochMs,
  epochMs,
  type JobsFilter,
  type MonitorOptions,
  matches,
} from './question.js'
import { queuesIn } from './queues-in.js'

/** Which failures. */
export interface FailuresRequest extends JobsFilter {
  /** At most this many groups: 1 to 10,000. Default 100. */
  readonly limit?: number
}

const FAILURES_OPTIONS = optionNames<FailuresRequest>({ queue: true, task: true, limit: true })

/** Jobs of one task whose last attempts failed alike. */
export interface Failure {
  readonly queue: string
  readonly task: string
  /** The error's name, such as TypeError. Empty where SQL wrote a dead letter without one. */
  readonly name: string
  /** Its message, of the newest example; messages that differ in digits alone count as one. */
  readonly message: string
  /** Dead letters among those looked at. */
  readonly dead: number
  /** Jobs that wait for their next attempt, among those looked at. */
  readonly retrying: number
  readonly lastAt: Date
  /** The newest of these jobs. */
  readonly exampleId: string
}

/** What fails, and how much of it was looked at. */
export interface Failures {
  /** The most frequent first. */
  readonly failures: readonly Failure[]
  /**
   * False: of some queue only the newest 1,000 dead letters, cancelled ones among them, or the 1,000 scheduled jobs that are due next,
   * were looked at, whether any of them fits or not.
   */
  readonly complete: boolean
}

/**
 * Groups failed jobs by queue, task and error: of each queue the newest 1,000 dead letters, and the next 1,000 retries. Cancelled jobs
 * have not failed, and are left out.
 */
export async function failures(
  executor: Executor,
  request: FailuresRequest = {},
  options: MonitorOptions = {},
): Promise<Failures> {
  checkCall('failures', request, FAILURES_OPTIONS, options)
  const { queue, task, limit } = request
  const params = { queue: queue ?? null, task: task ?? null, limit: checkLimit(limit) }
  const rows = await askFailures(executor, options, params)
  return {
    failures: rows
      .filter(isFailure)
      .map(({ lastAt, complete: _, ...failure }) => ({ ...failure, lastAt: dateOf(lastAt) })),
    complete: rows[0]!.complete,
  }
}

interface FailuresParams {
  readonly queue: string | null
  readonly task: string | null
  readonly limit: number
}

interface FailureRow extends Omit<Failure, 'lastAt'> {
  lastAt: EpochMs
  complete: boolean
}

/** Where nothing has failed, one row without a failure tells whether that was all. */
type AnsweredRow = FailureRow | { readonly queue: null; readonly complete: boolean }

const isFailure = (row: AnsweredRow): row is FailureRow => row.queue !== null

const EXAMINED = 1_000

/** Only the last error of a job is unpacked: a history may be 160 KB. From the queue on, for the reason that the estimates name. */
const askFailures = defineQuestion<FailuresParams, AnsweredRow>('failures', ({ table, param }) => {
  const lastError = (job: string) => sql`
    coalesce(${sql.ref(`${job}.errors`)} -> -1 ->> 'name', '') as name,
    left(coalesce(${sql.ref(`${job}.errors`)} -> -1 ->> 'message', ''), 1000) as message`
  return sql`
    with recursive
    ${queuesIn(table('dead_jobs'), sql`true`, param('queue'), 'dead_queues')},
    ${queuesIn(table('jobs'), sql`job.execute_at is not null`, param('queue'), 'scheduled_queues')},
    dead as materialized (
      select job.id, job.queue, job.task, job.died_at as at, job.reason <> 'cancelled' as failed, ${lastError('job')}
      from dead_queues as found
      cross join lateral (
        select dead.id, dead.queue, dead.task, dead.died_at, dead.reason, dead.errors from ${table('dead_jobs')} as dead
        where dead.queue <= found.queue
        order by dead.queue desc, dead.died_at desc limit ${sql.lit(EXAMINED)}
      ) as job
      where job.queue = found.queue
    ), scheduled as materialized (
      select
        job.id, job.queue, job.task, job.ready_at as at, job.errors is not null as failed, ${lastError('job')}
      from scheduled_queues as found
      cross join lateral (
        select waiting.id, waiting.queue, waiting.task, waiting.ready_at, waiting.execute_at, waiting.errors from ${table('jobs')} as waiting
        where waiting.queue >= found.queue and waiting.execute_at is not null
        order by waiting.queue, waiting.execute_at limit ${sql.lit(EXAMINED)}
      ) as job
      where job.queue = found.queue and job.execute_at < 'infinity'
    ), failed as (
      select id, queue, task, at, name, message, true as is_dead from dead where failed
      union all
      select id, queue, task, at, name, message, false from scheduled where failed
    ), grouped as (
      select
        queue, task, name, count(*) filter (where is_dead) as dead, count(*) filter (where not is_dead) as retrying,
        max(at) as last_at, (array_agg(message order by at desc, id desc))[1] as message,
        (array_agg(id order by at desc, id desc))[1] as example_id
      from failed
      where ${matches('failed', param)}
      group by queue, task, name, regexp_replace(message, '[0-9]+', '#', 'g')
    )
    select
      queue, task, name, message, dead, retrying, ${epochMs(sql`last_at`)} as "lastAt", example_id::text as "exampleId", complete
    from (
      select not exists (
        select from (
          select count(*) as jobs from dead group by queue union all select count(*) from scheduled group by queue
        ) as examined where examined.jobs >= ${sql.lit(EXAMINED)}
      ) as complete
    ) as seen
    left join grouped on true
    order by dead + retrying desc, last_at desc, queue, task, name
    limit ${param('limit')}::integer`
})
