import type { DeadReason } from '@pgq/core'
import type { DeadJob } from '@pgq/monitor'

/** Dead letters of one task that died of what looks like the same. */
export interface DeadGroup {
  /** What they have in common: it stays while dead letters come and go. */
  readonly key: string
  readonly task: string
  readonly reason: DeadReason
  /** The newest one's error, where it failed. */
  readonly error?: { readonly name: string; readonly message: string }
  readonly queues: readonly string[]
  readonly firstDiedAt: Date
  readonly lastDiedAt: Date
  /** Newest first. */
  readonly ids: readonly string[]
}

/** Groups dead letters, given newest first, by task, reason and error; the largest group first. */
export function groupDeadLetters(jobs: readonly DeadJob[]): DeadGroup[] {
  const groups = new Map<string, DeadJob[]>()
  for (const job of jobs) {
    const { task, reason, lastError } = job
    const key = JSON.stringify([task, reason, lastError?.name, shapeOf(lastError?.message)])
    const group = groups.get(key) ?? []
    groups.set(key, group)
    group.push(job)
  }
  return [...groups].map(([key, jobs]) => groupOf(key, jobs)).sort((a, b) => b.ids.length - a.ids.length)
}

function groupOf(key: string, jobs: readonly DeadJob[]): DeadGroup {
  const [newest] = jobs as [DeadJob]
  return {
    key,
    task: newest.task,
    reason: newest.reason,
    ...(newest.lastError && { error: { name: newest.lastError.name, message: newest.lastError.message } }),
    queues: [...new Set(jobs.map(({ queue }) => queue))].sort(),
    firstDiedAt: jobs.at(-1)!.diedAt,
    lastDiedAt: newest.diedAt,
    ids: jobs.map(({ id }) => id),
  }
}

// "order 17 not found" and "order 18 not found" are one error: numbers, hashes and what stands in quotes are left out.
// An error that SQL wrote may have no message at all.
const shapeOf = (message: unknown): string =>
  String(message ?? '')
    .slice(0, 500)
    .replace(/"[^"]*"|'[^']*'|`[^`]*`/g, '…')
    .replace(/\b(?=\w*\d)[\w-]+\b/g, '#')
