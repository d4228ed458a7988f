import type { JobRun } from './run-job.js'

/** Jobs that were claimed and have not begun. */
export class WaitingJobs {
  /** The next one last: one that has begun is not kept here. */
  #runs: JobRun[] = []

  get size(): number {
    return this.#runs.length
  }

  /**
   * Behind what waits already, but before those of its queue that have a lower priority: an urgent job passes what was claimed ahead of
   * it. Queues take turns, so it passes nothing of another one.
   */
  add(claimed: readonly JobRun[]): void {
    const all = this.takeAll()
    const lowest = all.reduce((least, { claim }) => Math.min(least, claim.job.priority), Number.POSITIVE_INFINITY)
    for (const run of claimed) {
      const { queue, priority } = run.claim.job
      const passed = ({ claim: { job } }: JobRun) => job.queue === queue && job.priority < priority
      const place = priority > lowest ? all.findIndex(passed) : -1
      all.splice(place === -1 ? all.length : place, 0, run)
    }
    this.#runs = all.reverse()
  }

  /** Before all others, in their order. */
  addFirst(claimed: readonly JobRun[]): void {
    this.#runs.push(...claimed.toReversed())
  }

  /** The next one. */
  take(): JobRun | undefined {
    return this.#runs.pop()
  }

  /** In their order. */
  takeAll(): JobRun[] {
    const all = this.#runs.reverse()
    this.#runs = []
    return all
  }

  /** Those with one of these ids. */
  takeOf(jobIds: ReadonlySet<string>): JobRun[] {
    const isOne = ({ claim }: JobRun) => jobIds.has(claim.job.id)
    const taken = this.#runs.filter(isOne)
    this.#runs = this.#runs.filter((run) => !isOne(run))
    return taken
  }

  /** Whether one of them was claimed before that, by performance.now(). */
  isOlderThan(time: number): boolean {
    return this.#runs.some(({ claimedAt }) => claimedAt < time)
  }
}
