import { databaseFindings } from './database-findings.js'
import type { HealthFacts } from './health-facts.js'
import { queueFindings } from './queue-findings.js'

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
  | 'schedules-late'
  | 'schedule-failed'
  | 'queue-unserved'
  | 'queue-paused'
  | 'tasks-unknown'
  | 'jobs-die'
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

/** Something that slows the queue down, or will, or lets its jobs die. */
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

/** Judges the facts: the worst first. */
export const findingsIn = (facts: HealthFacts, thresholds: Thresholds): Finding[] =>
  [...databaseFindings(facts), ...queueFindings(facts, thresholds)].sort(
    (a, b) => ORDER.indexOf(b.severity) - ORDER.indexOf(a.severity),
  )

const ORDER: readonly Severity[] = ['info', 'warning', 'critical']
