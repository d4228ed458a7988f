import {
  type ClaimedJob,
  type ClaimRequest,
  claimIntoLease,
  claimSuspectIntoLease,
  finishInTransaction,
  readLease,
  type Settlement,
  type SuspectRequest,
} from '@pgq/core'
import { type Acknowledger, Lease } from '../acknowledger.js'
import { breaksConnection, type Connection } from '../connection.js'
import { type Claim, CommitRefused, type DeliveryMode, FinishedAlready } from './delivery-mode.js'

/**
 * Claims move a batch into a lease; no transaction is open while handlers run. A job of a killed worker is given to another
 * one by the rescue, so it may run again.
 */
export class AtLeastOnce implements DeliveryMode {
  readonly name = 'at-least-once'
  readonly mayRetry = true
  readonly mayPrefetch = true
  readonly parallelClaims = 1
  readonly jobsPerSlot = 1
  readonly hasRoom = true
  #number = 0
  /** A claim whose answer was lost: it may have happened. */
  #doubtful: number | undefined

  constructor(
    private readonly schema: string,
    private readonly connection: Connection,
    private readonly acknowledger: Acknowledger,
  ) {}

  claim(request: ClaimRequest): Promise<Claim[]> {
    return this.#claim(request, (number) => claimIntoLease(this.connection, this.schema, { ...request, number }))
  }

  claimSuspect(request: SuspectRequest): Promise<Claim[]> {
    return this.#claim(request, (number) => claimSuspectIntoLease(this.connection, this.schema, { ...request, number }))
  }

  async #claim(request: SuspectRequest, claimAs: (number: number) => Promise<ClaimedJob[]>): Promise<Claim[]> {
    const found = await this.#recoverDoubtful(request)
    if (found.length > 0) return found
    const number = ++this.#number
    try {
      return this.#claims(request.workerId, number, await claimAs(number))
    } catch (error) {
      if (breaksConnection(error)) this.#doubtful = number
      throw error
    }
  }

  drain(): Promise<void> {
    return this.acknowledger.drain()
  }

  async #recoverDoubtful({ workerId, queues, tasks }: SuspectRequest): Promise<Claim[]> {
    const number = this.#doubtful
    if (number === undefined) return []
    const jobs = await readLease(this.connection, this.schema, { workerId, number, queues, tasks })
    this.#doubtful = undefined
    return this.#claims(workerId, number, jobs)
  }

  #claims(workerId: number, number: number, jobs: readonly ClaimedJob[]): Claim[] {
    const lease = new Lease(workerId, number, jobs.length)
    return jobs.map((job) => new LeasedClaim(job, lease, this.schema, this.acknowledger))
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

  settle(settlement: Settlement): Promise<void> {
    if (this.#calledFinish) return this.#settleFinished(settlement)
    return this.acknowledger.settle(this.lease, this.job, settlement)
  }

  release(): Promise<void> {
    if (this.#calledFinish) return this.#settleFinished({ kind: 'release' })
    return this.acknowledger.settle(this.lease, this.job, { kind: 'release' })
  }

  /**
   * First the end of the handler's transaction: a job that was returned while that is open would run again although it commits. And a
   * COMMIT after a statement that failed is answered by ROLLBACK, without an error: the handler may not know.
   */
  async #settleFinished(settlement: Parameters<Acknowledger['settle']>[2]): Promise<void> {
    const isFinished = await this.acknowledger.isFinished(this.lease, this.job)
    if (settlement.kind === 'complete' && !isFinished) throw new CommitRefused('', { cause: new Error(NOT_COMMITTED) })
    if (isFinished && (settlement.kind === 'requeue' || settlement.kind === 'bury')) throw new FinishedAlready()
    return this.acknowledger.settle(this.lease, this.job, settlement)
  }

  finish(trx: Parameters<NonNullable<Claim['finish']>>[0]): Promise<void> {
    this.#calledFinish = true
    const place = { workerId: this.lease.workerId, number: this.lease.number, ordinal: this.job.ordinal }
    return finishInTransaction(trx, this.schema, place, this.job.id)
  }
}

const NOT_COMMITTED =
  'The transaction in which the job was finished did not commit: let the errors of its statements through, and await its end.'
