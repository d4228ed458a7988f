import type { Finding } from './findings.js'
import type { HealthFacts, HorizonHolder, TableLock } from './health-facts.js'
import { dateOf } from './question.js'
import { lasting, MINUTE_MS, names, SECOND_MS } from './wording.js'

const MANY_DEAD_ROWS = 100_000

/** What the database suffers from, or will. */
export const databaseFindings = (facts: HealthFacts): Finding[] => [
  ...heldBack(facts),
  ...deadRows(facts),
  ...autovacuumOff(facts),
  ...tablesLocked(facts),
  ...lockWaits(facts),
  ...notifyQueue(facts),
  ...connections(facts),
  ...numbers(facts),
  ...transactionIds(facts),
]

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
