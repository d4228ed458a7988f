import { type ClaimedJob, finishInTransaction, LostLeaseError } from '@pgq/core'
import type { Acknowledger, Lease } from '../acknowledger.js'
import { type Claim, CommitRefused, type Ending, FinishedAlready } from './delivery-mode.js'
import { LeaseMode } from './lease-mode.js'

/**
 * Claims move a batch into a lease; no transaction is open while handlers run. A job of a killed worker is given to another
 * one by the rescue, so it may run again.
 */
export class AtLeastOnce extends LeaseMode {
  readonly name = 'at-least-once'

  protected claimOf(job: ClaimedJob, lease: Lease): Claim {
    return new LeasedClaim(job, lease, this.leasing.schema, this.leasing.acknowledger)
  }
}

class LeasedClaim implements Claim {
  /** The calls of finish, until each has its answer. */
  #finishing: Promise<unknown> | undefined
  #isSettled = false

  constructor(
    readonly job: ClaimedJob,
    private readonly lease: Lease,
    private readonly schema: string,
    private readonly acknowledger: Acknowledger,
  ) {}

  settle(ending: Ending): Promise<boolean> {
    this.#isSettled = true
    if (this.#finishing) return this.#settleFinished(ending, this.#finishing)
    return this.acknowledger.settle(this.lease, this.job, ending)
  }

  /**
   * First the end of the handler's transaction: a job that was returned while that is open would run again although it commits. And a
   * COMMIT after a statement that failed is answered by ROLLBACK, without an error: the handler may not know.
   */
  async #settleFinished(ending: Ending, calls: Promise<unknown>): Promise<boolean> {
    const isFinished = await this.acknowledger.isFinished(this.lease, this.job, { calls })
    if (ending.kind === 'complete' && !isFinished) throw new CommitRefused('', { cause: new Error(NOT_COMMITTED) })
    if (isFinished && ending.kind !== 'complete') throw new FinishedAlready()
    return this.acknowledger.settle(this.lease, this.job, ending)
  }

  /** Not once the job is settled: a handler that was given up, and goes on, would commit beside the run that comes after it. */
  async finish(trx: Parameters<NonNullable<Claim['finish']>>[0]): Promise<void> {
    if (this.#isSettled) throw new LostLeaseError(this.job.id)
    const call = finishInTransaction(trx, this.schema, this.lease.placeOf(this.job), this.job.id)
    this.#finishing = Promise.allSettled([this.#finishing, call])
    await call
  }
}

const NOT_COMMITTED =
  'The transaction in which the job was finished did not commit: let the errors of its statements through, and await its end.'
