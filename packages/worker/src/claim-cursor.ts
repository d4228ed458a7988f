import { type ClaimedJob, claimRank } from '@pgq/core'

const LOWEST = -(2n ** 63n)
const HIGHEST = 2n ** 63n - 1n
const MAX_LEVELS = 64
const MAX_RESCAN_INTERVAL_MS = 1_000
const RESCAN_SHARE = 20

/**
 * Remembers, per queue and priority, how far jobs were claimed, so that a claim does not walk again over the index entries
 * of jobs that are gone (an open snapshot anywhere keeps them there). A hint only: losing it costs time, never a job.
 * What appears behind it (a transaction that committed late, a rescued job) is found by a scan from the start, which is
 * due whenever it costs at most a twentieth of the time, and at the latest every second. Every priority without a memory of
 * its own, a new higher one too, is part of each claim. Several claims may be under way; they are answered in their order.
 */
export class ClaimCursor {
  readonly #claimed = new Map<string, Map<number, number>>()
  #nextRescanAt = 0
  #turn = 0

  constructor(private readonly queues: readonly string[]) {}

  /** The ranges to claim from, as claimIntoLease wants them; `rescan` when they are everything. */
  ranges(now: number): { queues: string[]; after: string[]; upto: string[]; rescan: boolean } {
    const rescan = now >= this.#nextRescanAt
    if (rescan) {
      this.#claimed.clear()
      this.#nextRescanAt = now + MAX_RESCAN_INTERVAL_MS // until it is answered: the next claim may be on its way before
    }
    const ranges = { queues: [] as string[], after: [] as string[], upto: [] as string[], rescan }
    for (const queue of this.#queuesInTurn()) {
      let after = LOWEST
      const levels = [...(this.#claimed.get(queue) ?? [])].sort(([a], [b]) => b - a)
      for (const [priority, position] of levels) {
        ranges.queues.push(queue)
        ranges.after.push(String(after))
        ranges.upto.push(String(claimRank(priority, 0)))
        after = claimRank(priority, position)
      }
      ranges.queues.push(queue)
      ranges.after.push(String(after))
      ranges.upto.push(String(HIGHEST))
    }
    return ranges
  }

  /** Takes note of what a claim brought, and of what a scan from the start cost (ms). */
  advance(jobs: readonly ClaimedJob[], rescanned: boolean, now: number, durationMs: number): void {
    // What an earlier claim was answered meanwhile may lie beyond what the scan has left.
    if (rescanned) this.#claimed.clear()
    for (const { queue, priority, position } of jobs) {
      const levels = this.#claimed.get(queue) ?? new Map<number, number>()
      if (levels.size === 0) this.#claimed.set(queue, levels)
      if (position > (levels.get(priority) ?? 0)) levels.set(priority, position)
      if (levels.size > MAX_LEVELS) this.reset()
    }
    if (rescanned) this.#nextRescanAt = now + Math.min(durationMs * RESCAN_SHARE, MAX_RESCAN_INTERVAL_MS)
  }

  /** Forgets everything: the next claim scans from the start. */
  reset(): void {
    this.#claimed.clear()
    this.#nextRescanAt = 0
  }

  /** Another queue comes first each time, so that none starves. */
  #queuesInTurn(): string[] {
    const first = this.#turn++ % this.queues.length
    return [...this.queues.slice(first), ...this.queues.slice(0, first)]
  }
}
