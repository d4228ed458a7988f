import {
  type ClaimedJob,
  type ClaimRequest,
  claimIntoLease,
  claimSuspectIntoLease,
  readLease,
  type SuspectRequest,
} from '@pgq/core'
import { type Acknowledger, Lease } from '../acknowledger.js'
import { breaksConnection, type Connection } from '../connection.js'
import type { Claim, DeliveryMode } from './delivery-mode.js'

/** What all modes with leases share. */
export interface Leasing {
  readonly schema: string
  readonly connection: Connection
  readonly acknowledger: Acknowledger
}

/** One sequence for all leases of this process: a worker uses none of them twice. */
let leases = 0

/** A mode that claims batches into leases, one at a time. A claim whose answer was lost may have happened: the next one finds it. */
export abstract class LeaseMode implements DeliveryMode {
  abstract readonly name: 'at-least-once' | 'transactional'
  readonly mayRetry = true
  #doubtful: number | undefined

  constructor(readonly leasing: Leasing) {}

  protected abstract claimOf(job: ClaimedJob, lease: Lease): Claim

  claim(request: ClaimRequest): Promise<Claim[]> {
    const { connection, schema } = this.leasing
    return this.#claim(request, (lease) => claimIntoLease(connection, schema, { ...request, ...lease }))
  }

  claimSuspect(request: SuspectRequest): Promise<Claim[]> {
    const { connection, schema } = this.leasing
    return this.#claim(request, (lease) => claimSuspectIntoLease(connection, schema, { ...request, ...lease }))
  }

  drain(): Promise<void> {
    return this.leasing.acknowledger.drain()
  }

  async #claim(
    request: SuspectRequest,
    claimAs: (lease: { number: number; transactional: boolean }) => Promise<ClaimedJob[]>,
  ): Promise<Claim[]> {
    const found = await this.#recoverDoubtful(request)
    if (found.length > 0) return found
    const number = ++leases
    const sentAt = performance.now()
    try {
      const jobs = await claimAs({ number, transactional: this.name === 'transactional' })
      return this.#claimsOf(request.workerId, number, jobs, sentAt)
    } catch (error) {
      if (breaksConnection(error)) this.#doubtful = number
      throw error
    }
  }

  async #recoverDoubtful({ workerId, queues, tasks }: SuspectRequest): Promise<Claim[]> {
    const number = this.#doubtful
    if (number === undefined) return []
    const { connection, schema } = this.leasing
    const sentAt = performance.now()
    const jobs = await readLease(connection, schema, { workerId, number, queues, tasks })
    this.#doubtful = undefined
    return this.#claimsOf(workerId, number, jobs, sentAt)
  }

  #claimsOf(workerId: number, number: number, jobs: readonly ClaimedJob[], sentAt: number): Claim[] {
    const lease = new Lease(workerId, number, jobs.length, sentAt)
    return jobs.map((job) => this.claimOf(job, lease))
  }
}
