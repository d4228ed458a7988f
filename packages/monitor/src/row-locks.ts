import type { Executor } from '@pgq/core'
import { sql } from 'kysely'
import { dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions, type Question } from './question.js'
import type { JobWorker } from './running.js'

/** A job whose row an open transaction has deleted: a transactional handler runs it. */
export interface RowLock {
  /** The job's id. */
  readonly id: string
  readonly queue: string
  readonly task: string
  /** The transaction's PostgreSQL backend: a pid of pg_stat_activity, and the argument of pg_terminate_backend(). */
  readonly backendPid?: number
  /** When the transaction began. Absent when this role may not see it (pg_read_all_stats). */
  readonly since?: Date
  /** The worker that noted the job. Absent when none did: somebody else deleted the row. */
  readonly worker?: JobWorker
}

/** What rowLocks() answers: the locks, or what to do to see them. */
export type RowLocks =
  | { readonly available: true; readonly locks: readonly RowLock[] }
  | { readonly available: false; readonly remedy: string }

/**
 * The jobs that transactional handlers hold, as the row locks themselves tell: also when no worker noted them. Needs the
 * extension pgrowlocks, and reads the whole table of waiting jobs. On the primary only.
 */
export async function rowLocks(executor: Executor, options: MonitorOptions = {}): Promise<RowLocks> {
  const [extension] = await askExtension(executor, options, {})
  if (!extension) return { available: false, remedy: 'create extension pgrowlocks' }
  const rows = await questionFor(extension.schema)(executor, options, {})
  return { available: true, locks: rows.map(readLock) }
}

const readLock = ({ id, queue, task, backendPid, since, worker }: RowLockRow): RowLock => ({
  id,
  queue,
  task,
  ...(backendPid !== null && { backendPid }),
  ...(since !== null && { since: dateOf(since) }),
  ...(worker !== null && { worker }),
})

interface RowLockRow {
  id: string
  queue: string
  task: string
  backendPid: number | null
  since: EpochMs | null
  worker: JobWorker | null
}

// Asked first: a statement that names a function that is not there would end the caller's transaction.
const askExtension = defineQuestion<object, { schema: string }>(
  'find_pgrowlocks',
  () => sql`
    select namespace.nspname as schema
    from pg_extension as extension join pg_namespace as namespace on namespace.oid = extension.extnamespace
    where extension.extname = 'pgrowlocks'`,
)

const questions = new Map<string, Question<object, RowLockRow>>()

/** The extension's schema is part of the text: the caller's search path may not lead there. */
function questionFor(extensionSchema: string): Question<object, RowLockRow> {
  const question = questions.get(extensionSchema) ?? defineRowLocks(extensionSchema)
  questions.set(extensionSchema, question)
  return question
}

/**
 * A deleted row shows as 'Update' on PostgreSQL 14 to 18 (tried on each): 'For Update' is a SELECT's. Jobs that are being promoted show as 'Update' too, but they have an execute_at. pgrowlocks' own pids are 0
 * for a savepoint's transaction; the transaction's lock has the pid in every case.
 */
const defineRowLocks = (extensionSchema: string): Question<object, RowLockRow> =>
  defineQuestion(
    `row_locks ${extensionSchema}`,
    ({ table, schemaName }) => sql`
      select
        job.id::text as id, job.queue, job.task, lock.pid as "backendPid", ${epochMs(sql`activity.xact_start`)} as since,
        (
          select json_build_object('id', worker.id, 'hostname', worker.hostname, 'pid', worker.pid)
          from ${table('workers')} as worker
          where job.id = any (worker.holding)
          order by worker.id desc
          limit 1
        ) as worker
      from ${sql.id(extensionSchema, 'pgrowlocks')}(${schemaName} || '.jobs') as locked
      cross join lateral unnest(locked.xids, locked.modes) as member (xid, mode)
      join ${table('jobs')} as job on job.ctid = locked.locked_row and job.execute_at is null
      left join pg_locks as lock
        on lock.locktype = 'transactionid' and lock.granted and lock.mode = 'ExclusiveLock' and lock.transactionid = member.xid
      left join pg_stat_activity as activity on activity.pid = lock.pid
      where member.mode = 'Update'
      order by since, job.id`,
  )
