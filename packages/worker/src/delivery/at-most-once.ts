import { type ClaimedJob, type ClaimRequest, claimAndDelete, type Restore, restoreJobs } from '@pgq/core'
import type { Backoff } from '../backoff.js'
import type { Connection } from '../connection.js'
import { delay } from '../delay.js'
import type { Claim, DeliveryMode } from './delivery-mode.js'

/**
 * The claim deletes: a job runs once, or not at all when the worker is lost. Failures are recorded among the dead letters and
 * never tried again. Jobs that were claimed and not yet started are given back on stop; a crash loses them, too: at most
 * what handlers would have started within about 75 ms.
 */
export class AtMostOnce implements DeliveryMode {
  readonly name = 'at-most-once'
  readonly mayRetry = false
  readonly mayPrefetch = true
  readonly parallelClaims = 1
  readonly #writing = new Set<Promise<void>>()

  constructor(
    private readonly schema: string,
    private readonly claims: Connection,
    private readonly settlements: Connection,
    private readonly backoff: Backoff,
  ) {}

  async claim(request: ClaimRequest): Promise<Claim[]> {
    const jobs = await claimAndDelete(this.claims, this.schema, request)
    return jobs.map((job) => ({
      job,
      settle: async (settlement) => {
        if (settlement.kind !== 'complete') await this.#restore(job, settlement)
      },
      release: () => this.#restore(job, { kind: 'release' }),
    }))
  }

  async drain(): Promise<void> {
    await Promise.allSettled(this.#writing)
  }

  async #restore(job: ClaimedJob, settlement: Restore): Promise<void> {
    const writing = this.#writeUntilDone(job, settlement)
    this.#writing.add(writing)
    await writing.finally(() => this.#writing.delete(writing))
  }

  /** The claim removed the job: until this is written, it exists here alone. */
  async #writeUntilDone(job: ClaimedJob, settlement: Restore): Promise<void> {
    for (;;) {
      try {
        await restoreJobs(this.settlements, this.schema, [{ job, settlement }])
        return this.backoff.succeeded()
      } catch (error) {
        if ((error as { code?: unknown }).code === UNIQUE_VIOLATION) return // an earlier try was committed, its answer lost
        await delay(this.backoff.failed(error))
      }
    }
  }
}

const UNIQUE_VIOLATION = '23505'
