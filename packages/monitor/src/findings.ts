import type { HealthFacts, HorizonHolder, TableLock, WorkerFacts } from './health-facts.js'
import { dateOf } from './question.js'

/** What health() may find. The codes stay. */
export type FindingCode =
  | 'vacuum-held-back'
  | 'dead-rows'
  | 'autovacuum-off'
  | 'tables-locked'
  | 'lock-waits'
  | 'notify-queue-fills'
  | 'backlog-old'
  | 'suspects-wait'
  | 'due-jobs-late'
  | 'queue-unserved'
  | 'queue-paused'
  | 'tasks-unknown'
  | 'leases-orphaned'
  | 'workers-lost'
  | 'workers-without-locks'
  | 'workers-without-notify'
  | 'connections-scarce'
  | 'numbers-run-out'
  | 'transaction-ids-run-out'

/** How bad a finding is; critical is the worst, info no cause for concern. */
export type Severity = 'info' | 'warning' | 'critical'

/** One line of what a finding rests on: a session, a table, a worker. Instants are ISO 8601, ages in ms. */
export type Evidence = Readonly<Record<string, string | number | boolean | null>>

/** Something that slows the queue down, or will. */
export interface Finding {
  readonly code: FindingCode
  readonly severity: Severity
  /** What is wrong, with names and numbers. */
  readonly message: string
  /** What comes of it. */
  readonly meaning: string
  /** What to do. */
  readonly remedy: string
  readonly evidence: readonly Evidence[]
}

/** From when on things are worth a word. */
export interface Thresholds {
  /** Ready jobs that have waited this long are a warning; ten times that is critical. */
  readonly backlogMs: number
}

const SECOND_MS = 1_000
const MINUTE_MS = 60_000
const MANY_DEAD_ROWS = 100_000

/** Judges the facts: the worst first. */
export const findingsIn = (facts: HealthFacts, thresholds: Thresholds): Finding[] =>
  [
    ...heldBack(facts),
    ...deadRows(facts),
    ...autovacuumOff(facts),
    ...tablesLocked(facts),
    ...lockWaits(facts),
    ...notifyQueue(facts),
    ...unserved(facts),
    ...paused(facts),
    ...oldBacklog(facts, thresholds),
    ...waitingSuspects(facts, thresholds),
    ...lateJobs(facts),
    ...unknownTasks(facts),
    ...orphans(facts),
    ...lostWorkers(facts),
    ...lackingWorkers(facts),
    ...connections(facts),
    ...numbers(facts),
    ...transactionIds(facts),
  ].sort((a, b) => ORDER.indexOf(b.severity) - ORDER.indexOf(a.severity))

export const ORDER: readonly Severity[] = ['info', 'warning', 'critical']

const deadRowsOf = ({ tables }: HealthFacts) => tables.reduce((sum, table) => sum + table.deadRows, 0)

/** A long look back matters when it is very long, or when there are rows that it keeps. */
function longHolders(facts: HealthFacts): HorizonHolder[] {
  const patienceMs = deadRowsOf(facts) > MANY_DEAD_ROWS ? 10 * SECOND_MS : 5 * MINUTE_MS
  const ageMs = ({ sinceMs }: HorizonHolder) => (sinceMs === null ? null : facts.server.nowMs - Number(sinceMs))
  return facts.holders.filter((holder) => {
    const age = ageMs(holder)
    return age === null ? holder.transactions > MANY_DEAD_ROWS : age > patienceMs
  })
}

function heldBack(facts: HealthFacts): Finding[] {
  const holders = longHolders(facts)
  const [first] = holders
  if (!first) return []
  const dead = deadRowsOf(facts)
  const since = first.sinceMs === null ? '' : ` since ${dateOf(first.sinceMs).toISOString()}`
  return [
    {
      code: 'vacuum-held-back',
      severity: dead > 10 * MANY_DEAD_ROWS ? 'critical' : 'warning',
      message: `A ${first.kind} (${named(first)}) keeps dead rows from being removed${since}: ${first.transactions} transactions, ${dead} dead rows in the queue's tables.`,
      meaning:
        'Finished jobs leave dead rows behind; while they cannot be removed, the tables grow and every look at them gets slower.',
      remedy: REMEDIES[first.kind](first),
      evidence: holders.map(({ sinceMs, ...holder }) => ({
        ...holder,
        since: sinceMs === null ? null : dateOf(sinceMs).toISOString(),
      })),
    },
  ]
}

const named = ({ name, pid }: HorizonHolder) =>
  [name && `"${name}"`, pid !== null && `pid ${pid}`].filter(Boolean).join(', ')

const REMEDIES: Record<HorizonHolder['kind'], (holder: HorizonHolder) => string> = {
  session: ({ pid, state }) =>
    `${state?.startsWith('idle in transaction') ? 'Its program began a transaction and left it open: end it there, and set idle_in_transaction_session_timeout.' : 'Let the query end, or make it shorter.'} To end it now: select pg_terminate_backend(${pid}).`,
  'replication slot': ({ name, state }) =>
    state === 'active'
      ? `The standby that uses the slot runs a long query: end that, or turn hot_standby_feedback off there.`
      : `Nobody uses the slot. Start its standby again, or drop it: select pg_drop_replication_slot('${name}').`,
  'prepared transaction': ({ name }) => endingPrepared(name),
  standby: () => 'A query on the standby runs long: end it there, or turn hot_standby_feedback off there.',
}

const endingPrepared = (name: string) =>
  `Commit or roll it back: rollback prepared '${name.replaceAll("'", "''")}', in this database.`

function deadRows(facts: HealthFacts): Finding[] {
  const tables = facts.tables.filter((table) => table.deadRows > MANY_DEAD_ROWS)
  if (tables.length === 0 || longHolders(facts).length > 0) return []
  return [
    {
      code: 'dead-rows',
      severity: 'warning',
      message: `${tables.map(({ table, deadRows }) => `${table} has ${deadRows} dead rows`).join(', ')}, and no long transaction seen that keeps them.`,
      meaning: 'Autovacuum does not keep up, or what holds it back is not visible to this role.',
      remedy: `Run "vacuum ${tables[0]!.table}" in the queue's schema; if that recurs, raise autovacuum_max_workers or lower autovacuum_naptime.`,
      evidence: tables.map(({ table, deadRows }) => ({ table, deadRows })),
    },
  ]
}

function autovacuumOff({ server, tables }: HealthFacts): Finding[] {
  const off = tables.filter(({ autovacuum }) => !autovacuum)
  if (server.autovacuum && off.length === 0) return []
  const what = server.autovacuum ? off.map(({ table }) => table).join(', ') : 'the whole server'
  return [
    {
      code: 'autovacuum-off',
      severity: 'critical',
      message: `Autovacuum is off for ${what}.`,
      meaning:
        'Nothing removes the dead rows that finished jobs leave: the tables grow and every look at them gets slower.',
      remedy: server.autovacuum
        ? `alter table ${off[0]!.table} reset (autovacuum_enabled).`
        : 'Set autovacuum = on in postgresql.conf and reload.',
      evidence: server.autovacuum ? off.map(({ table }) => ({ table })) : [{ setting: 'autovacuum', value: 'off' }],
    },
  ]
}

/** Also one that is young: nothing else was asked then, so nobody knows that all is well. */
function tablesLocked({ tableLocks }: HealthFacts): Finding[] {
  const [first] = tableLocks
  if (!first) return []
  return [
    {
      code: 'tables-locked',
      severity: tableLocks.some(({ ageMs }) => ageMs > SECOND_MS) ? 'critical' : 'warning',
      message: `${lockedBy(first)} ${first.granted ? 'holds' : 'waits for'} an exclusive lock on ${first.table}, for ${lasting(first.ageMs)}.`,
      meaning: 'Nobody can read or write that table meanwhile: no job is enqueued, claimed or finished.',
      remedy: unlocking(first),
      evidence: tableLocks.map((lock) => ({ ...lock })),
    },
  ]
}

/** Who holds or wants it, as a sentence begins. */
export const lockedBy = ({ pid, prepared, application }: TableLock) =>
  pid === null
    ? `A prepared transaction${prepared === null ? '' : ` ("${prepared}")`}`
    : `pid ${pid}${application ? ` ("${application}")` : ''}`

function unlocking({ pid, prepared, granted }: TableLock): string {
  if (pid === null) return prepared === null ? ENDING_UNNAMED : endingPrepared(prepared)
  return granted
    ? `Let that transaction end, or end its session: select pg_terminate_backend(${pid}).`
    : `It waits for an older transaction, and all who came later wait behind it. End either: select pg_terminate_backend(${pid}); set lock_timeout for DDL.`
}

const ENDING_UNNAMED = 'Look at pg_prepared_xacts, and commit or roll it back: rollback prepared <gid>.'

function lockWaits({ lockWaits }: HealthFacts): Finding[] {
  const long = lockWaits.filter(({ waitsForMs }) => waitsForMs > SECOND_MS)
  const [first] = long
  if (!first) return []
  const blockers = [...new Set(long.flatMap((wait) => wait.blockers.map(({ pid }) => pid)))]
  return [
    {
      code: 'lock-waits',
      severity: first.waitsForMs > MINUTE_MS ? 'critical' : 'warning',
      message: `${long.length === 1 ? 'A session waits' : `${long.length} sessions wait`} for locks on the queue's tables, the longest for ${lasting(first.waitsForMs)}, blocked by ${blockers.map((pid) => (pid === 0 ? 'a prepared transaction' : `pid ${pid}`)).join(', ') || 'nobody who is seen'}.`,
      meaning: 'Somebody holds a lock that the queue needs: DDL, LOCK TABLE, or rows of jobs locked by hand.',
      remedy: unblocking(blockers[0]),
      evidence: long.map(({ blockers, ...wait }) => ({
        ...wait,
        blockedBy: blockers
          .map(({ pid, application, state }) =>
            [pid || 'prepared transaction', application, state].filter(Boolean).join(' '),
          )
          .join(', '),
      })),
    },
  ]
}

function unblocking(pid: number | undefined): string {
  if (pid === undefined) return 'Look at pg_blocking_pids() of the waiting session.'
  if (pid === 0) return ENDING_UNNAMED
  return `End that transaction, or its session: select pg_terminate_backend(${pid}).`
}

function notifyQueue({ server: { notifyQueue } }: HealthFacts): Finding[] {
  if (notifyQueue < 0.25) return []
  return [
    {
      code: 'notify-queue-fills',
      severity: notifyQueue > 0.75 ? 'critical' : 'warning',
      message: `The server's queue of notifications is ${Math.round(notifyQueue * 100)} % full.`,
      meaning:
        'A session listens and does not end its transaction, so notifications pile up. From 90 % on, enqueues wake nobody and workers find jobs by polling; when it is full, every NOTIFY of others fails.',
      remedy: 'Find sessions that are idle in a transaction after LISTEN (pg_stat_activity) and end them.',
      evidence: [{ used: notifyQueue }],
    },
  ]
}

/**
 * It lives, as far as the server knows: its lock is held, and its last beat is young. Twice the lease: a living worker gives its jobs
 * back after one, and what a standby tells of a beat may be late.
 */
const isLost = (worker: WorkerFacts, { isStandby }: HealthFacts['server']) =>
  worker.beatAgeMs > 2 * worker.leaseMs || (!isStandby && worker.locks && worker.isBack && !worker.lockHeld)

const living = ({ workers, server }: HealthFacts) => workers.filter((worker) => !isLost(worker, server))

function unserved(facts: HealthFacts): Finding[] {
  const served = new Set(living(facts).flatMap(({ queues }) => queues))
  const queues = facts.backlog.filter(({ queue, ready, pausedAt }) => ready > 0 && !pausedAt && !served.has(queue))
  if (queues.length === 0) return []
  return [
    {
      code: 'queue-unserved',
      severity: 'critical',
      message: `No living worker serves ${names(queues.map(({ queue }) => queue))}, where jobs are ready.`,
      meaning: 'These jobs wait until a worker comes.',
      remedy: 'Start a worker for the queue (pgq work, or createWorker), or look why its workers are gone.',
      evidence: queues.map(({ queue, ready, oldestReadyMs = null }) => ({ queue, ready, oldestReadyMs })),
    },
  ]
}

function paused({ backlog }: HealthFacts): Finding[] {
  const queues = backlog.filter(({ pausedAt }) => pausedAt)
  if (queues.length === 0) return []
  return [
    {
      code: 'queue-paused',
      severity: 'info',
      message: `${names(queues.map(({ queue }) => queue))} ${queues.length === 1 ? 'is' : 'are'} paused.`,
      meaning: 'Nothing of a paused queue is claimed; its jobs wait.',
      remedy: `When that is no longer wanted: ${resuming(queues[0]!.queue)}.`,
      evidence: queues.map(({ queue, ready, pausedAt }) => ({ queue, ready, pausedAt: pausedAt!.toISOString() })),
    },
  ]
}

const resuming = (queue: string) => `pgq resume ${shellWord(queue)}, or resumeQueue(executor, ${JSON.stringify(queue)})`

/** As a shell takes it. */
const shellWord = (text: string) => (/^[\w./:@-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`)

function oldBacklog(facts: HealthFacts, { backlogMs }: Thresholds): Finding[] {
  const old = facts.backlog.filter(({ oldestReadyMs = 0, pausedAt }) => oldestReadyMs > backlogMs && !pausedAt)
  if (old.length === 0) return []
  const oldest = Math.max(...old.map(({ oldestReadyMs = 0 }) => oldestReadyMs))
  return [
    {
      code: 'backlog-old',
      severity: oldest > 10 * backlogMs ? 'critical' : 'warning',
      message: `Jobs in ${names(old.map(({ queue }) => queue))} have been ready for up to ${lasting(oldest)}.`,
      meaning: 'Jobs come faster than they are run, handlers hang, or nobody runs these tasks.',
      remedy:
        'Look at what runs and since when (pgq jobs --state running, or listRunning), at the other findings, and at run times (pgq status, or statisticsByTask); then raise the concurrency or start more workers (pgq work).',
      evidence: old.map(({ queue, ready, exact, workers, oldestReadyMs = null }) => ({
        queue,
        ready,
        exact,
        workers,
        oldestReadyMs,
      })),
    },
  ]
}

function waitingSuspects({ suspects, backlog }: HealthFacts, { backlogMs }: Thresholds): Finding[] {
  const isPaused = (queue: string) => backlog.some((one) => one.queue === queue && one.pausedAt)
  const old = suspects.filter(({ queue, oldestReadyMs }) => oldestReadyMs > backlogMs && !isPaused(queue))
  if (old.length === 0) return []
  const oldest = Math.max(...old.map(({ oldestReadyMs }) => oldestReadyMs))
  return [
    {
      code: 'suspects-wait',
      severity: 'warning',
      message: `Jobs in ${names(old.map(({ queue }) => queue))} that two lost workers held wait to run alone, for up to ${lasting(oldest)}.`,
      meaning:
        'A worker lets everything else end before it runs such a job, and runs one at a time: long handlers hold them up, and there may be many.',
      remedy:
        'Start one more worker for the queue, and find out why workers are lost. Or cancel the jobs: pgq cancel <ids>, or cancelJobs(executor, { ids }).',
      evidence: old.map((suspects) => ({ ...suspects })),
    },
  ]
}

function lateJobs({ server, backlog }: HealthFacts): Finding[] {
  const lateMs = ({ nextScheduledAt }: (typeof backlog)[number]) =>
    nextScheduledAt ? server.nowMs - nextScheduledAt.getTime() : 0
  const late = backlog.filter((queue) => lateMs(queue) > MINUTE_MS)
  if (late.length === 0) return []
  return [
    {
      code: 'due-jobs-late',
      severity: 'warning',
      message: `Scheduled jobs in ${names(late.map(({ queue }) => queue))} are due and were not made ready.`,
      meaning: 'Workers do that for their queues: there is none, or the database keeps it from its work.',
      remedy: 'Start a worker for the queue (pgq work, or createWorker), or look at the other findings.',
      evidence: late.map((queue) => ({
        queue: queue.queue,
        scheduled: queue.scheduled,
        lateMs: Math.round(lateMs(queue)),
      })),
    },
  ]
}

function unknownTasks(facts: HealthFacts): Finding[] {
  const workers = living(facts)
  const serving = (queue: string) => workers.filter(({ queues }) => queues.includes(queue))
  const unknown = facts.heads.filter(
    ({ queue, task }) => serving(queue).length > 0 && !serving(queue).some(({ tasks }) => tasks.includes(task)),
  )
  if (unknown.length === 0) return []
  return [
    {
      code: 'tasks-unknown',
      severity: 'warning',
      message: `No living worker has a handler for ${names([...new Set(unknown.map(({ task }) => task))])}.`,
      meaning:
        'Jobs of these tasks are kept and never run. A name was changed, or the workers are older than what enqueues.',
      remedy: `Deploy workers that have the handler. Or give the jobs up: pgq cancel --task ${shellWord(unknown[0]!.task)} leaves dead letters, deleteWaitingJobs(executor, { task: ${JSON.stringify(unknown[0]!.task)} }) nothing.`,
      evidence: unknown,
    },
  ]
}

function orphans({ orphans }: HealthFacts): Finding[] {
  const jobs = orphans.reduce((sum, lease) => sum + lease.jobs, 0)
  if (orphans.length === 0) return []
  return [
    {
      code: 'leases-orphaned',
      severity: 'warning',
      message: `${jobs} jobs are leased to workers that do not exist.`,
      meaning: 'Rows of workers were deleted, or tables restored from a dump. These jobs do not run meanwhile.',
      remedy:
        'Any running worker gives them back within a second or at its next beat: start one (pgq work, or createWorker).',
      evidence: orphans,
    },
  ]
}

function lostWorkers(facts: HealthFacts): Finding[] {
  const lost = facts.workers.filter((worker) => isLost(worker, facts.server))
  if (lost.length === 0) return []
  const jobs = lost.reduce((sum, { running }) => sum + running, 0)
  const nobodyElse = living(facts).length === 0
  return [
    {
      code: 'workers-lost',
      severity: nobodyElse && jobs > 0 ? 'critical' : 'warning',
      message: `${lost.length === 1 ? 'A worker is' : `${lost.length} workers are`} lost and not rescued yet; ${jobs} ${jobs === 1 ? 'job' : 'jobs'} with ${lost.length === 1 ? 'it' : 'them'}.`,
      meaning: nobodyElse
        ? 'Living workers give the jobs of lost ones back; there is none.'
        : 'A living worker gives these jobs back, within a second of the loss, or when the lease ran out.',
      remedy: nobodyElse
        ? 'Start a worker (pgq work, or createWorker).'
        : 'Nothing, unless it stays: then look at the logs of the living ones.',
      evidence: lost.map(({ id, hostname, pid, beatAgeMs, running }) => ({ id, hostname, pid, beatAgeMs, running })),
    },
  ]
}

function lackingWorkers(facts: HealthFacts): Finding[] {
  const workers = living(facts)
  const deaf = workers.filter(({ listens }) => !listens)
  const lockless = workers.filter(({ locks }) => !locks)
  const evidence = (lacking: readonly WorkerFacts[]) => lacking.map(({ id, hostname, pid }) => ({ id, hostname, pid }))
  const found: Finding[] = []
  if (lockless.length > 0)
    found.push({
      code: 'workers-without-locks',
      severity: 'info',
      message: `${lockless.length} of ${workers.length} workers hold no liveness lock.`,
      meaning:
        'A pooler stands in between, or this server has no session locks: their loss is noticed by their silence alone, after leaseMs.',
      remedy: 'Connect workers to the server itself, or to a pooler in session mode.',
      evidence: evidence(lockless),
    })
  if (deaf.length > 0)
    found.push({
      code: 'workers-without-notify',
      severity: 'info',
      message: `${deaf.length} of ${workers.length} workers do not hear NOTIFY.`,
      meaning: 'They find jobs by polling, up to a second late.',
      remedy: 'Connect workers to the server itself, and leave the option doorbell on.',
      evidence: evidence(deaf),
    })
  return found
}

function connections({ server: { connections, maxConnections } }: HealthFacts): Finding[] {
  const share = connections / maxConnections
  if (share < 0.8) return []
  return [
    {
      code: 'connections-scarce',
      severity: share > 0.95 ? 'critical' : 'warning',
      message: `${connections} of ${maxConnections} connections are in use.`,
      meaning: 'When none is left, workers cannot reconnect and programs cannot enqueue.',
      remedy:
        'Raise max_connections, make pools smaller, or lower the concurrency of transactional tasks (a connection each).',
      evidence: [{ connections, maxConnections }],
    },
  ]
}

function numbers({ numbers }: HealthFacts): Finding[] {
  const scarce = numbers.filter(({ used, most }) => (used ?? 0) > most / 2)
  if (scarce.length === 0) return []
  const worst = Math.max(...scarce.map(({ used, most }) => used! / most))
  return [
    {
      code: 'numbers-run-out',
      severity: worst > 0.9 ? 'critical' : 'warning',
      message: `${names(scarce.map(({ name }) => name))} ${scarce.length === 1 ? 'has' : 'have'} used ${Math.round(worst * 100)} % of the numbers there are.`,
      meaning: 'When a number range is used up, inserts fail.',
      remedy: scarce.some(({ name }) => name.startsWith('leases of'))
        ? 'Restart that worker: a new worker counts its leases from 1.'
        : 'Restart the sequence below the numbers in use, while nothing has low ones: alter sequence ... restart.',
      evidence: scarce.map(({ name, used, most }) => ({ name, used, most })),
    },
  ]
}

function transactionIds({ server: { frozenAge } }: HealthFacts): Finding[] {
  if (frozenAge < 1_000_000_000) return []
  return [
    {
      code: 'transaction-ids-run-out',
      severity: frozenAge > 1_800_000_000 ? 'critical' : 'warning',
      message: `The oldest unfrozen rows of this database are ${frozenAge} transactions old.`,
      meaning: 'Near 2,147,000,000 the server accepts no writes at all, until they are frozen.',
      remedy: 'Look what holds vacuum back, and run "vacuum (freeze)" in this database.',
      evidence: [{ frozenAge }],
    },
  ]
}

/** `45 s`, `3 min`, `2 h 5 min`. */
export function lasting(ms: number): string {
  const [seconds, minutes] = [Math.round(ms / SECOND_MS), Math.round(ms / MINUTE_MS)]
  if (seconds < 120) return `${seconds} s`
  if (minutes < 120) return `${minutes} min`
  return `${Math.floor(minutes / 60)} h${minutes % 60 ? ` ${minutes % 60} min` : ''}`
}

const names = (all: readonly string[]): string =>
  all.length > 5 ? `${all.slice(0, 5).join(', ')} and ${all.length - 5} more` : all.join(', ')
