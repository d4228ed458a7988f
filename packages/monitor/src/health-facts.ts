import { type Executor, isUnsettled, jobRank, SUSPECT_CRASHES, serverEpoch, sql } from '@pgq/core'
import { backlog, type QueueBacklog } from './backlog.js'
import { listWorkers, type WorkerStatus } from './list-workers.js'
import { defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'
import { queuesIn } from './queues-in.js'

/** Everything that health() judges by, as the server told it. Ages in ms. */
export interface HealthFacts {
  readonly server: ServerFacts
  readonly tables: readonly TableFacts[]
  /** What keeps dead rows from being removed, the oldest first. */
  readonly holders: readonly HorizonHolder[]
  readonly lockWaits: readonly LockWait[]
  /** Locks that let nobody read a table of the queue, held or waited for. While there are any, the facts below are empty. */
  readonly tableLocks: readonly TableLock[]
  readonly numbers: readonly NumberFacts[]
  readonly workers: readonly WorkerFacts[]
  readonly orphans: readonly { readonly workerId: number; readonly jobs: number }[]
  readonly backlog: readonly QueueBacklog[]
  /** Jobs that wait to run alone, since two lost workers held them. */
  readonly suspects: readonly SuspectFacts[]
  /** Tasks of the first ready jobs of each queue, and how many of these they have. */
  readonly heads: readonly { readonly queue: string; readonly task: string; readonly jobs: number }[]
  /** Tasks whose jobs became dead letters in the last hour, those with the most first; cancelled ones are none of them. */
  readonly deaths: readonly DeathFacts[]
  /** Schedules that are due or failed, and not paused: the first 1,000, those that are due longest first. */
  readonly schedules: readonly ScheduleFacts[]
}

export interface ServerFacts {
  readonly nowMs: number
  readonly isStandby: boolean
  /** Whether this role sees other roles' sessions. */
  readonly seesSessions: boolean
  readonly autovacuum: boolean
  readonly connections: number
  readonly maxConnections: number
  /** From 0 to 1. */
  readonly notifyQueue: number
  /** How many transactions ago the database's oldest unfrozen row may have been written; the server stops near 2,147,000,000. */
  readonly frozenAge: number
}

export interface TableFacts {
  readonly table: string
  readonly deadRows: number
  readonly autovacuum: boolean
}

export interface HorizonHolder {
  readonly kind: 'session' | 'replication slot' | 'prepared transaction' | 'standby'
  /** What it is called: application, slot, prepared transaction, standby. */
  readonly name: string
  readonly pid: number | null
  readonly role: string | null
  readonly state: string | null
  readonly sinceMs: EpochMs | null
  readonly query: string | null
  /** How many transactions began since. */
  readonly transactions: number
}

export interface LockWait {
  readonly pid: number
  readonly application: string | null
  readonly waitsForMs: number
  readonly mode: string
  readonly relation: string | null
  readonly blockers: readonly {
    /** 0: a prepared transaction, which no session holds. */
    readonly pid: number
    readonly application: string | null
    readonly state: string | null
  }[]
}

export interface TableLock {
  readonly table: string
  /** Null: a prepared transaction holds it. */
  readonly pid: number | null
  /** Its name. */
  readonly prepared: string | null
  readonly application: string | null
  readonly state: string | null
  readonly granted: boolean
  readonly ageMs: number
}

export interface NumberFacts {
  readonly name: string
  /** Null: this role may not see it. */
  readonly used: number | null
  readonly most: number
}

export interface SuspectFacts {
  readonly queue: string
  /** Counted up to 1,000 of all queues. */
  readonly jobs: number
  readonly oldestReadyMs: number
}

export interface DeathFacts {
  readonly task: string
  readonly exhausted: number
  readonly failed: number
  readonly crashed: number
  /** Of all tasks. */
  readonly allDied: number
  /** Jobs of all tasks that ended, well or not. */
  readonly allEnded: number
}

export interface ScheduleFacts {
  readonly name: string
  /** The slot that has no job yet. */
  readonly slotMs: EpochMs
  /** Why it could not have one, when a worker tried. */
  readonly error: string | null
}

export interface WorkerFacts extends WorkerStatus {
  /** Whether somebody holds its liveness lock. */
  readonly lockHeld: boolean
  /** It has beaten since the server started. */
  readonly isBack: boolean
}

/**
 * Asks one question after the other: the executor may be one connection. The catalogs first: while somebody keeps everybody from
 * reading a table, questions to the tables would wait with the rest.
 */
export async function healthFacts(executor: Executor, options: MonitorOptions): Promise<HealthFacts> {
  const [server] = await askServer(executor, options, {})
  const tables = await askTables(executor, options, {})
  const holders = await askHolders(executor, options, {})
  const lockWaits = await askLockWaits(executor, options, {})
  const tableLocks = await askTableLocks(executor, options, {})
  const queue = tableLocks.length > 0 ? NOT_ASKED : await queueFacts(executor, options)
  return { server: server!, tables, holders, lockWaits, tableLocks, ...queue }
}

type QueueFacts = Pick<
  HealthFacts,
  'numbers' | 'workers' | 'orphans' | 'backlog' | 'suspects' | 'heads' | 'deaths' | 'schedules'
>

const NOT_ASKED: QueueFacts = {
  numbers: [],
  workers: [],
  orphans: [],
  backlog: [],
  suspects: [],
  heads: [],
  deaths: [],
  schedules: [],
}

async function queueFacts(executor: Executor, options: MonitorOptions): Promise<QueueFacts> {
  const liveness = new Map((await askLiveness(executor, options, {})).map(({ id, ...rest }) => [id, rest]))
  return {
    numbers: await askNumbers(executor, options, {}),
    workers: (await listWorkers(executor, options)).map((worker) => ({
      ...worker,
      // Registered between the two questions: it lives.
      ...(liveness.get(worker.id) ?? { lockHeld: true, isBack: true }),
    })),
    orphans: await askOrphans(executor, options, {}),
    backlog: await backlog(executor, options),
    suspects: await askSuspects(executor, options, {}),
    heads: await askHeads(executor, options, {}),
    deaths: await askDeaths(executor, options, {}),
    schedules: await askSchedules(executor, options, {}),
  }
}

const askServer = defineQuestion<object, ServerFacts>(
  'health_server',
  () => sql`
    select
      ${epochMs(sql`statement_timestamp()`)} as "nowMs", pg_is_in_recovery() as "isStandby",
      pg_has_role(current_user, 'pg_read_all_stats', 'usage') as "seesSessions",
      current_setting('autovacuum')::boolean as autovacuum, pg_notification_queue_usage() as "notifyQueue",
      (select sum(numbackends) from pg_stat_database) as connections, current_setting('max_connections')::integer as "maxConnections",
      (select age(datfrozenxid) from pg_database where datname = current_database()) as "frozenAge"`,
)

const askTables = defineQuestion<object, TableFacts>(
  'health_tables',
  ({ schemaName }) => sql`
    select
      class.relname as "table", pg_stat_get_dead_tuples(class.oid) as "deadRows",
      coalesce((
        select setting.option_value::boolean from pg_options_to_table(class.reloptions) as setting
        where setting.option_name = 'autovacuum_enabled'
      ), true) as autovacuum
    from pg_class as class join pg_namespace as namespace on namespace.oid = class.relnamespace
    where namespace.nspname = ${schemaName} and class.relkind = 'r'
    order by class.relname`,
)

/**
 * Sessions of other databases hold nothing here, nor does a vacuum. A role without pg_read_all_stats sees only its own sessions'
 * snapshots; slots and prepared transactions are seen by everybody.
 */
const askHolders = defineQuestion<object, HorizonHolder>(
  'health_holders',
  () => sql`
    select kind, name, pid, role, state, ${epochMs(sql`since`)} as "sinceMs", query, transactions
    from (
      select
        'session' as kind, coalesce(application_name, '') as name, pid, usename as role, state, xact_start as since,
        left(query, 200) as query, greatest(age(backend_xmin), age(backend_xid)) as transactions
      from pg_stat_activity
      where datname = current_database() and pid <> pg_backend_pid()
        and backend_type not in ('autovacuum worker', 'parallel worker', 'walsender')
        and coalesce(backend_xmin, backend_xid) is not null
      union all
      select
        'replication slot', slot_name, active_pid, null, case when active then 'active' else 'inactive' end, null, null, age(xmin)
      from pg_replication_slots where xmin is not null
      union all
      select 'prepared transaction', gid, null, owner, null, prepared, null, age(transaction)
      from pg_prepared_xacts where database = current_database()
      union all
      select 'standby', coalesce(application_name, ''), pid, usename, state, null, null, age(backend_xmin)
      from pg_stat_replication where backend_xmin is not null
    ) as holder
    order by transactions desc, since
    limit 10`,
)

/** Who waits for a lock while it has, or wants, one on our tables. Waits for a row show as waits for its transaction. */
const askLockWaits = defineQuestion<object, LockWait>(
  'health_lock_waits',
  ({ schemaName }) => sql`
    select
      waiting.pid, activity.application_name as application, waiting.mode,
      coalesce(${epochMs(sql`clock_timestamp() - waiting.waitstart`)}, 0) as "waitsForMs",
      (
        select min(class.relname) from pg_class as class
        where class.oid = waiting.relation or waiting.relation is null and class.relkind = 'r' and class.oid in (
          select touched.relation from pg_locks as touched where touched.pid = waiting.pid
        ) and class.relnamespace = ours.oid
      ) as relation,
      array(
        select json_build_object('pid', blocking.pid, 'application', blocker.application_name, 'state', blocker.state)
        from (select distinct unnest(pg_blocking_pids(waiting.pid)) as pid) as blocking
        left join pg_stat_activity as blocker on blocker.pid = blocking.pid
      ) as blockers
    from pg_namespace as ours
    cross join pg_locks as waiting
    join pg_stat_activity as activity on activity.pid = waiting.pid
    where ours.nspname = ${schemaName} and not waiting.granted and exists (
      select from pg_locks as touched join pg_class as class on class.oid = touched.relation
      where touched.pid = waiting.pid and class.relnamespace = ours.oid
    )
    order by "waitsForMs" desc
    limit 20`,
)

/**
 * Autovacuum lets go of such a lock as soon as somebody waits. A prepared transaction has no session, and shares its virtual number with
 * the lock on its transaction alone.
 */
const askTableLocks = defineQuestion<object, TableLock>(
  'health_table_locks',
  ({ schemaName }) => sql`
    select
      class.relname as "table", lock.pid, prepared.gid as prepared, activity.application_name as application, activity.state, lock.granted,
      coalesce(${epochMs(sql`clock_timestamp() - coalesce(lock.waitstart, activity.xact_start, prepared.prepared)`)}, 0) as "ageMs"
    from pg_locks as lock
    join pg_class as class on class.oid = lock.relation and class.relkind in ('r', 'i')
    join pg_namespace as namespace on namespace.oid = class.relnamespace and namespace.nspname = ${schemaName}
    left join pg_stat_activity as activity on activity.pid = lock.pid
    left join (
      pg_locks as own join pg_prepared_xacts as prepared on prepared.transaction = own.transactionid
    ) on lock.pid is null and own.pid is null and own.virtualtransaction = lock.virtualtransaction
    where lock.mode = 'AccessExclusiveLock' and lock.database = (select oid from pg_database where datname = current_database())
      and lock.pid is distinct from pg_backend_pid() and (lock.pid is null or activity.pid is not null)
      and activity.backend_type is distinct from 'autovacuum worker'
    order by lock.granted desc, "ageMs" desc
    limit 20`,
)

/** Positions have 47 bits in the order of claiming. A worker numbers its leases from 1, in 31 bits. */
const askNumbers = defineQuestion<object, NumberFacts>(
  'health_numbers',
  ({ table, schemaName }) => sql`
    select
      sequencename as name,
      case when has_sequence_privilege(format('%I.%I', schemaname, sequencename), 'usage, select') then coalesce(last_value, 0) end as used,
      case sequencename when 'job_positions' then 140737488355327 else max_value end as most
    from pg_sequences
    where schemaname = ${schemaName}
    union all
    select 'leases of worker ' || worker_id, max(number), 2147483647
    from ${table('leases')}
    group by worker_id
    having max(number) > 1000000000
    order by name`,
)

const askLiveness = defineQuestion<object, { id: number; lockHeld: boolean; isBack: boolean }>(
  'health_liveness',
  ({ table, schemaName }) => sql`
    select
      worker.id, worker.epoch = ${serverEpoch} as "isBack",
      worker.id in (
        select lock.objid::bigint
        from pg_locks as lock join pg_database as here on here.oid = lock.database and here.datname = current_database()
        where lock.locktype = 'advisory' and lock.objsubid = 2 and lock.granted
          and lock.classid = (${schemaName} || '.workers')::regclass::oid
      ) as "lockHeld"
    from ${table('workers')} as worker`,
)

const askOrphans = defineQuestion<object, { workerId: number; jobs: number }>(
  'health_orphans',
  (parts) => sql`
    select lease.worker_id as "workerId", count(*) as jobs
    from ${parts.table('leases')} as lease
    cross join lateral generate_subscripts(lease.ids, 1) as place (ordinal)
    where ${isUnsettled(parts, sql`place.ordinal`)}
      and not exists (select from ${parts.table('workers')} as worker where worker.id = lease.worker_id)
    group by lease.worker_id
    order by lease.worker_id
    limit 20`,
)

/** In the order of their own index, which no other has. */
const askSuspects = defineQuestion<object, SuspectFacts>(
  'health_suspects',
  (parts) => sql`
    select queue, count(*) as jobs, greatest(0, ${epochMs(sql`statement_timestamp() - min(ready_at)`)}) as "oldestReadyMs"
    from (
      select job.queue, job.ready_at
      from ${parts.table('jobs')} as job
      where job.execute_at is null and job.crash_count >= ${sql.lit(SUSPECT_CRASHES)}
      order by job.queue, job.crash_count, ${jobRank}
      limit 1000
    ) as suspect
    group by queue
    order by queue`,
)

/** Jobs that nobody claims stay at the head of their queue. From the queue on, and few, for the reason that the estimates name. */
const askHeads = defineQuestion<object, { queue: string; task: string; jobs: number }>(
  'health_heads',
  ({ table }) => sql`
    with recursive ${queuesIn(table('jobs'), sql`job.execute_at is null`, sql`null`)}
    select first.queue, first.task, count(*) as jobs
    from found
    cross join lateral (
      select job.queue, job.task
      from ${table('jobs')} as job
      where job.queue >= found.queue and job.execute_at is null
      order by job.queue, ${jobRank}
      limit 200
    ) as first
    where first.queue = found.queue
    group by first.queue, first.task
    order by first.queue, first.task`,
)

/** As workers counted them: one row per minute, queue and task, where the dead letters themselves may be millions. */
const askDeaths = defineQuestion<object, DeathFacts>(
  'health_deaths',
  ({ table }) => sql`
    select task, exhausted, failed, crashed, "allDied", "allEnded"
    from (
      select
        task, sum(exhausted) as exhausted, sum(failed) as failed, sum(crashed) as crashed,
        sum(exhausted + failed + crashed) as died, sum(sum(exhausted + failed + crashed)) over () as "allDied",
        sum(sum(completed + exhausted + failed + cancelled + crashed)) over () as "allEnded"
      from ${table('job_stats')}
      where begun_at > statement_timestamp() - interval '1 hour'
      group by task
    ) as summed
    where died > 0
    order by died desc, task
    limit 20`,
)

const askSchedules = defineQuestion<object, ScheduleFacts>(
  'health_schedules',
  ({ table }) => sql`
    select schedule.name, ${epochMs(sql`schedule.next_at`)} as "slotMs", schedule.error
    from ${table('schedules')} as schedule
    where schedule.paused_at is null and (schedule.error is not null or schedule.next_at <= statement_timestamp())
    order by schedule.next_at, schedule.name
    limit 1000`,
)
