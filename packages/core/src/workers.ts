import { sql } from 'kysely'
import type { Executor } from './executor.js'
import { defineStatement, type StatementParts } from './statement.js'

/** What a worker tells of itself. */
export interface WorkerDescription {
  readonly hostname: string
  readonly pid: number
  readonly queues: readonly string[]
  readonly tasks: readonly string[]
  /** Its connections hold its liveness lock. False where such locks mean nothing (a pooler): then only its beat counts. Default true. */
  readonly locks?: boolean
  /** NOTIFY reaches it; for the monitor. Default true. */
  readonly listens?: boolean
  /** Silent for longer, it is lost even if its connections are still open. Its own, as it beats accordingly. Default 30,000. */
  readonly leaseMs?: number
}

/** The channel on which workers hear of new workers. */
export const workersChannel = (schema: string): string => `pgq_${schema}_workers`

/**
 * Enters a new worker, takes its liveness lock on this connection, tells the others, and answers its id, which is never used
 * again. One statement: others see the row only when the lock is held, so they cannot take the newcomer for dead. Durable
 * whatever the session says: an id that a crash of the server forgot would be given to somebody else, and with it the leases.
 */
export async function registerWorker(executor: Executor, schema: string, worker: WorkerDescription): Promise<number> {
  const [row] = await registerStatement(executor, schema, {
    locks: true,
    listens: true,
    leaseMs: 30_000,
    ...worker,
  })
  return row!.id
}

const registerStatement = defineStatement<Required<WorkerDescription>, { id: number }>(
  'register_worker',
  ({ table, param, schemaName }) => sql`
    with worker as (
      insert into ${table('workers')} (hostname, pid, queues, tasks, locks, listens, lease_ms)
      values (
        ${param('hostname')}, ${param('pid')}, ${param('queues')}::text[], ${param('tasks')}::text[],
        ${param('locks')}, ${param('listens')}, ${param('leaseMs')}
      )
      returning id, locks
    )
    select
      id, (select count(*) from pg_advisory_lock_shared(${lockClass({ schemaName })}, worker.id) where worker.locks) as locked,
      set_config('synchronous_commit', 'on', true), ${notifyWorkers({ schemaName })}
    from worker`,
)

/**
 * When this server last let go of all sessions and their locks: at its start, or when it began anew because one of its processes crashed
 * (killed for want of memory). The start of the postmaster stays the same then, and these statistics are lost. Resetting them by hand does
 * no harm. Not with PostgreSQL 14, which reads a file for them, and waits until it is written.
 */
export const serverEpoch = sql`greatest(
  pg_postmaster_start_time(),
  case when current_setting('server_version_num')::integer >= 150000 then pg_stat_get_bgwriter_stat_reset_time() end
)`

/** What a worker learns when it beats. */
export interface Beat {
  /** How many other workers there are. */
  readonly others: number
  /** See serverEpoch, as the server writes it: another one after a restart, a crash or a failover. */
  readonly epoch: string
}

/**
 * Says that the worker lives, on this server. Null: it was declared dead and its jobs were given away; it must start anew
 * under a new id. Beat on a connection that holds the worker's liveness lock: from then on the lock is believed.
 */
export async function beat(executor: Executor, schema: string, workerId: number): Promise<Beat | null> {
  const [row] = await beatStatement(executor, schema, { workerId })
  return row ?? null
}

const beatStatement = defineStatement<{ workerId: number }, Beat>(
  'beat',
  ({ table, param }) => sql`
    update ${table('workers')} set beat_at = now(), epoch = ${serverEpoch} where id = ${param('workerId')}
    returning (select count(*)::integer - 1 from ${table('workers')}) as others, epoch::text as epoch`,
)

/** Not into a queue of notifications that is about to be full: a transaction that finds it so cannot commit. */
const notifyWorkers = ({ schemaName }: Pick<StatementParts<object>, 'schemaName'>) => sql`
  case when pg_notification_queue_usage() < 0.9 then pg_notify('pgq_' || ${schemaName} || '_workers', '') end`

/** Tells all listening workers that this one has work in hand, so that they look after it. */
export const tellWorkers = defineStatement<object, never>(
  'tell_workers',
  (parts) => sql`select ${notifyWorkers(parts)}`,
)

/** What a worker sees of the others. */
export interface OthersSeen {
  /** How many there are. */
  readonly others: number
  /** There is something to rescue or to end: any of them holds jobs, or jobs were asked to end. */
  readonly busy: boolean
}

/** Looks at the other workers, and changes nothing: before the first rescue, and for a worker that does not hear them tell. */
export async function lookAtOthers(executor: Executor, schema: string, workerId: number): Promise<OthersSeen> {
  const [row] = await othersStatement(executor, schema, { workerId })
  return row!
}

// The leases on both sides of its own, each by the index. An empty one is a claim that was taken back: see fenceLease.
const othersStatement = defineStatement<{ workerId: number }, OthersSeen>(
  'look_at_others',
  ({ table, param }) => sql`
    select (select count(*) from ${table('workers')} where id <> ${param('workerId')})::integer as others,
      exists (select from ${table('leases')} where worker_id < ${param('workerId')} and ids <> '{}')
        or exists (select from ${table('leases')} where worker_id > ${param('workerId')} and ids <> '{}')
        or exists (select from ${table('cancellations')}) as busy`,
)

/** Takes a worker that stopped out of the list. Leases that it could not give back stay behind for a rescue, with its row. */
export const removeWorker = defineStatement<{ workerId: number }, never>(
  'remove_worker',
  ({ table, param }) => sql`
    delete from ${table('workers')}
    where id = ${param('workerId')}
      and not exists (select from ${table('leases')} where worker_id = ${param('workerId')} and ids <> '{}')`,
)

/** The key class of the liveness locks of one schema, for the two-key form of PostgreSQL's advisory locks: its table's oid. */
export const lockClass = ({ schemaName }: Pick<StatementParts<object>, 'schemaName'>) =>
  sql`(${schemaName} || '.workers')::regclass::oid::integer`

/**
 * Takes the worker's liveness lock, shared, on this connection until it closes. Every connection of a worker takes it once:
 * the lock is gone when the last of them is, and with it every statement that the worker had left running.
 */
export const lockLiveness = defineStatement<{ workerId: number }, never>(
  'lock_liveness',
  (parts) => sql`select pg_advisory_lock_shared(${lockClass(parts)}, ${parts.param('workerId')}::integer)`,
)

/**
 * Ends a session of the worker that its client has given up, and says whether it was still there: its transaction may still commit then.
 */
export async function endSession(
  executor: Executor,
  schema: string,
  session: { readonly workerId: number; readonly backendPid: number },
): Promise<boolean> {
  return (await endSessionStatement(executor, schema, session)).length > 0
}

const endSessionStatement = defineStatement<{ workerId: number; backendPid: number }, { ended: boolean }>(
  'end_session',
  (parts) => sql`
    select pg_terminate_backend(lock.pid) as ended
    from pg_locks as lock join pg_database as here on here.oid = lock.database and here.datname = current_database()
    where lock.pid = ${parts.param('backendPid')}::integer and lock.locktype = 'advisory' and lock.objsubid = 2
      and lock.classid = ${lockClass(parts)}::oid and lock.objid = ${parts.param('workerId')}::integer::oid`,
)

/** lockLiveness and beat as texts whose $1 is the worker's id, for a thread that has nothing but a client. */
export const heartbeatSql = (schema: string): { readonly lock: string; readonly beat: string } => ({
  lock: lockLiveness.compile(schema).sql,
  beat: beatStatement.compile(schema).sql,
})
