/** How long claimed jobs should wait in the worker at most, in ms: enough to hide a round trip, too short to hoard. */
const LOOKAHEAD_MS = 75

/**
 * Decides how many jobs to claim: what the free slots need now, and what handlers will start within 75 ms at the pace seen
 * so far. Fast handlers get large batches, slow ones nothing beyond their free slots. Grows at most twofold per claim.
 */
export class BatchSize {
  #averageMs: number | undefined
  #lastClaim: number
  /** After a claim that failed. */
  #most = Number.POSITIVE_INFINITY

  constructor(
    private readonly concurrency: number,
    private readonly maxBatch: number,
  ) {
    this.#lastClaim = concurrency
  }

  /** How many jobs to claim now; 0: not yet. */
  next(running: number, waiting: number): number {
    const free = this.concurrency - running
    const ahead = this.#ahead()
    const missing = free + ahead - waiting
    const worthIt = waiting < free || missing >= ahead / 2
    if (missing <= 0 || !worthIt) return 0
    return Math.min(missing, Math.max(this.#lastClaim * 2, this.concurrency), this.maxBatch, this.#most)
  }

  /** What each of two claims under way may ask for at most, so that there is room for the other. */
  get half(): number {
    return Math.max(Math.ceil(this.#ahead() / 2), this.concurrency)
  }

  claimed(jobs: number): void {
    this.#lastClaim = jobs
    this.#most *= 2
  }

  /** A claim of so many jobs failed: the next asks for half as many. What is too large for a timeout would fail again, for ever. */
  failed(jobs: number): void {
    this.#most = Math.ceil(jobs / 2)
  }

  /** Learns from a handler that ran for ms. Slow runs count at once, fast ones by and by. */
  ran(ms: number): void {
    const average = this.#averageMs ?? ms
    this.#averageMs = average + (ms - average) * (ms > average ? 0.2 : 0.05)
  }

  /** The handlers under way have run for ms already, and what waits for them went back: none of it is worth claiming again soon. */
  stalled(ms: number): void {
    this.#averageMs = Math.max(this.#averageMs ?? ms, ms)
  }

  #ahead(): number {
    if (this.#averageMs === undefined) return 0
    return Math.min(Math.floor((this.concurrency * LOOKAHEAD_MS) / Math.max(this.#averageMs, 0.001)), this.maxBatch)
  }
}
