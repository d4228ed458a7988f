import { type ClaimedJob, finishInTransaction } from '@pgq/core'
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
  #calledFinish = false

  constructor(
    readonly job: ClaimedJob,
    private readonly lease: Lease,
    private readonly schema: string,
    private readonly acknowledger: Acknowledger,
  ) {}

  settle(ending: Ending): Promise<boolean> {
    if (this.#calledFinish) return this.#settleFinished(ending)
    return this.acknowledger.settle(this.lease, this.job, ending)
  }

  /**
   * First the end of the handler's transaction: a job that was returned while that is open would run again although it commits. And a
   * COMMIT after a statement that failed is answered by ROLLBACK, without an error: the handler may not know.
   */
  async #settleFinished(ending: Ending): Promise<boolean> {
    const isFinished = await this.acknowledger.isFinished(this.lease, this.job)
    if (ending.kind === 'complete' && !isFinished) throw new CommitRefused('', { cause: new Error(NOT_COMMITTED) })
    if (isFinished && ending.kind !== 'complete') throw new FinishedAlready()
    return this.acknowledger.settle(this.lease, this.job, ending)
  }

  finish(trx: Parameters<NonNullable<Claim['finish']>>[0]): Promise<void> {
    this.#calledFinish = true
    return finishInTransaction(trx, this.schema, this.lease.placeOf(this.job), this.job.id)
  }
}

const NOT_COMMITTED =
  'The transaction in which the job was finished did not commit: let the errors of its statements through, and await its end.'
