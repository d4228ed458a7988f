import {
  type ClaimedJob,
  type ClaimRequest,
  claimIntoLease,
  claimSuspectIntoLease,
  readLease,
  type SuspectRequest,
} from '@pgq/core'
import { Lease } from '../acknowledger.js'
import { breaksConnection, type Connection } from '../connection.js'

/** What a claim brought. */
export interface Leased {
  readonly lease: Lease
  readonly jobs: readonly ClaimedJob[]
}

/** Claims batches into leases, one at a time. A claim whose answer was lost may have happened: the next one finds it. */
export class LeaseClaims {
  #doubtful: number | undefined

  constructor(
    private readonly schema: string,
    private readonly connection: Connection,
    /** One sequence for all leases of a worker. */
    private readonly nextNumber: () => number,
    private readonly transactional: boolean,
  ) {}

  claim(request: ClaimRequest): Promise<Leased> {
    return this.#claim(request, (lease) => claimIntoLease(this.connection, this.schema, { ...request, ...lease }))
  }

  claimSuspect(request: SuspectRequest): Promise<Leased> {
    return this.#claim(request, (lease) =>
      claimSuspectIntoLease(this.connection, this.schema, { ...request, ...lease }),
    )
  }

  async #claim(
    request: SuspectRequest,
    claimAs: (lease: { number: number; transactional: boolean }) => Promise<ClaimedJob[]>,
  ): Promise<Leased> {
    const found = await this.#recoverDoubtful(request)
    if (found) return found
    const number = this.nextNumber()
    try {
      return leased(request.workerId, number, await claimAs({ number, transactional: this.transactional }))
    } catch (error) {
      if (breaksConnection(error)) this.#doubtful = number
      throw error
    }
  }

  async #recoverDoubtful({ workerId, queues, tasks }: SuspectRequest): Promise<Leased | undefined> {
    const number = this.#doubtful
    if (number === undefined) return undefined
    const jobs = await readLease(this.connection, this.schema, { workerId, number, queues, tasks })
    this.#doubtful = undefined
    return jobs.length > 0 ? leased(workerId, number, jobs) : undefined
  }
}

const leased = (workerId: number, number: number, jobs: readonly ClaimedJob[]): Leased => ({
  lease: new Lease(workerId, number, jobs.length),
  jobs,
})
