import { checkOptionNames, type Executor, InvalidOptionError, optionNames, shown } from '@pgq/core'
import { lockedBy } from './database-findings.js'
import { type Finding, findingsIn, type Thresholds } from './findings.js'
import { type HealthFacts, healthFacts } from './health-facts.js'
import { dateOf, type MonitorOptions } from './question.js'

/** How the queue is, and why. */
export interface Health {
  /** The worst severity found; information alone is ok. */
  readonly status: 'ok' | 'warning' | 'critical'
  /** By the database's clock. */
  readonly at: Date
  /** The worst first. */
  readonly findings: readonly Finding[]
  /** What could not be looked at, and what that would need. */
  readonly unseen: readonly string[]
}

const OPTIONS = optionNames<MonitorOptions & Thresholds>({ schema: true, backlogMs: true })

/**
 * Looks for what slows the queue down, or will, and names its cause. Reads catalogs and the heads of queues only; any role that
 * may read the queue's tables can ask. What it may not see is told in `unseen`.
 */
export async function health(executor: Executor, options: MonitorOptions & Partial<Thresholds> = {}): Promise<Health> {
  checkOptionNames(options, OPTIONS, 'health')
  const { backlogMs = 60_000, ...where } = options
  if (!(typeof backlogMs === 'number' && backlogMs >= 0)) {
    throw new InvalidOptionError(`backlogMs is ${shown(backlogMs)}; use milliseconds from 0.`)
  }
  const facts = await healthFacts(executor, where)
  const findings = findingsIn(facts, { backlogMs })
  const worst = findings[0]?.severity ?? 'info'
  return {
    status: worst === 'info' ? 'ok' : worst,
    at: dateOf(facts.server.nowMs),
    findings,
    unseen: unseenIn(facts),
  }
}

function unseenIn({ server, numbers, tableLocks }: HealthFacts): string[] {
  const hidden = numbers.filter(({ used }) => used === null).map(({ name }) => name)
  const unseen: string[] = []
  if (server.isStandby)
    unseen.push(
      'This is a standby: dead rows, locks, connections and what holds vacuum back are those of the primary. Ask there.',
    )
  if (tableLocks.length > 0)
    unseen.push(
      `Queues, workers and leases: ${lockedBy(tableLocks[0]!)} lets nobody read ${tableLocks[0]!.table}, so the queue's tables were not asked.`,
    )
  if (!server.seesSessions)
    unseen.push(
      "Other roles' transactions (who holds vacuum back, who blocks whom): grant pg_read_all_stats to this role.",
    )
  if (hidden.length > 0)
    unseen.push(`How far ${hidden.join(', ')} have counted: grant select on all sequences in the queue's schema.`)
  return unseen
}
