import { type Executor, isUnsettled, sql } from '@pgq/core'
import { checkOptions, dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import type { JobWorker } from './running.js'

/** A worker that is registered: it lives, or nobody has found it lost yet. */
export interface WorkerStatus extends JobWorker {
  readonly queues: readonly string[]
  readonly tasks: readonly string[]
  readonly startedAt: Date
  /** Its connections hold its liveness lock: it is found lost within a second. False (a pooler): by its silence alone. */
  readonly locks: boolean
  /** An enqueue wakes it by NOTIFY. False (a pooler, or switched off): it polls. */
  readonly listens: boolean
  /** Runs jobs that were held by two lost workers, one at a time and nothing beside them: its other slots are empty. */
  readonly alone: boolean
  /** For how many ms it has not said that it lives. */
  readonly beatAgeMs: number
  /** Silent for longer, it is taken for dead. */
  readonly leaseMs: number
  /** Jobs that it holds. */
  readonly running: number
  /** Runs nothing and waits for the doorbell. */
  readonly idle: boolean
}

/** Lists the workers, in the order of their starts. */
export async function listWorkers(executor: Executor, options: MonitorOptions = {}): Promise<WorkerStatus[]> {
  checkOptions('listWorkers', options)
  const rows = await askWorkers(executor, options, {})
  return rows.map(({ startedAt, ...worker }) => ({ ...worker, startedAt: dateOf(startedAt) }))
}

interface WorkerRow extends Omit<WorkerStatus, 'startedAt'> {
  startedAt: EpochMs
}

const askWorkers = defineQuestion<object, WorkerRow>('list_workers', (parts) => {
  const { table } = parts
  return sql`
    with leased as (
      select lease.worker_id, count(*) as jobs
      from ${table('leases')} as lease
      cross join lateral generate_subscripts(lease.ids, 1) as place (ordinal)
      where ${isUnsettled(parts, sql`place.ordinal`)}
      group by lease.worker_id
    )
    select
      worker.id, worker.hostname, worker.pid, worker.queues, worker.tasks, worker.locks, worker.listens, worker.alone,
      ${epochMs(sql`worker.started_at`)} as "startedAt",
      greatest(0, ${epochMs(sql`statement_timestamp() - worker.beat_at`)}) as "beatAgeMs",
      worker.lease_ms as "leaseMs",
      coalesce(leased.jobs, 0) as running,
      leased.jobs is null
        and exists (select from ${table('idle_workers')} as idle where idle.worker_id = worker.id) as idle
    from ${table('workers')} as worker
    left join leased on leased.worker_id = worker.id
    order by worker.id`
})
