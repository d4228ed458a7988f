import {
  acknowledge,
  type ClaimedJob,
  type ClaimRequest,
  claimIntoLease,
  claimParkedIntoLease,
  claimSuspectIntoLease,
  concurrencyOf,
  type Executor,
  endSession,
  fenceLease,
  isRefusal,
  type ParkedRequest,
  parkRefusedJobs,
  readLease,
  refuseJobs,
  type SuspectRequest,
} from '@pgq/core'
import { type Acknowledger, Lease } from '../acknowledger.js'
import { breaksConnection, type Connection, isCancelled } from '../connection.js'
import { processIdOf, type Session } from '../session.js'
import type { Claim, DeliveryMode, Found } from './delivery-mode.js'

/** What all modes with leases share. */
export interface Leasing {
  readonly schema: string
  readonly connection: Connection
  readonly acknowledger: Acknowledger
  /** Under which id the connections are opened, and whether they hold the liveness lock of it. */
  readonly session: Pick<Session, 'workerId' | 'locks'>
}

/** One sequence for all leases of this process: a worker uses none of them twice. */
let leases = 0

/** A claim whose answer was lost. */
interface Doubtful {
  readonly workerId: number
  readonly number: number
  /** The session that it ran in. */
  readonly backendPid: number
  /** When its connection broke, by performance.now(). */
  readonly brokenAt: number
}

/** A claim, sent for the lease of this number. */
type ClaimAs = (executor: Executor, lease: { number: number; transactional: boolean }) => Promise<ClaimedJob[]>

/** Where no lock tells that a session is gone: by then the server has found out that its client is, and ended its statement, in ms. */
const GONE_MS = 1_000

/** A mode that claims batches into leases. A claim whose answer was lost may have happened: the next one finds it. */
export abstract class LeaseMode implements DeliveryMode {
  abstract readonly name: 'at-least-once' | 'transactional'
  readonly mayRetry = true
  #doubtful: Doubtful[] = []

  constructor(readonly leasing: Leasing) {}

  protected abstract claimOf(job: ClaimedJob, lease: Lease): Claim

  claim(request: ClaimRequest): Promise<Found> {
    const { schema } = this.leasing
    return this.#claim(request.workerId, (executor, lease) =>
      claimIntoLease(executor, schema, { ...request, ...lease }),
    )
  }

  claimSuspect(request: SuspectRequest): Promise<Found> {
    const { schema } = this.leasing
    return this.#claim(request.workerId, (executor, lease) =>
      claimSuspectIntoLease(executor, schema, { ...request, ...lease }),
    )
  }

  claimParked(request: ParkedRequest): Promise<Found> {
    const { schema } = this.leasing
    const claimAs: ClaimAs = (executor, lease) => claimParkedIntoLease(executor, schema, { ...request, ...lease })
    return this.#claim(request.workerId, claimAs, false)
  }

  drain(): Promise<void> {
    return this.leasing.acknowledger.drain()
  }

  async #claim(workerId: number, claimAs: ClaimAs, asks = true): Promise<Found> {
    const found = await this.#recoverDoubtful(workerId)
    if (found.claims.length + found.unparked.length > 0) return found
    const { connection } = this.leasing
    const number = ++leases
    const sentAt = performance.now()
    let backendPid: number | undefined
    let isClaimed = false
    try {
      const jobs = await connection.use((client) => {
        backendPid = processIdOf(client)
        return claimAs(connection.on(client), { number, transactional: this.name === 'transactional' })
      })
      isClaimed = true
      return await (asks ? this.#admit(workerId, number, jobs, sentAt) : this.#found(workerId, number, jobs, sentAt))
    } catch (error) {
      if (backendPid !== undefined && (isClaimed || breaksConnection(error)))
        this.#doubtful.push({ workerId, number, backendPid, brokenAt: performance.now() })
      throw error
    }
  }

  async #recoverDoubtful(workerId: number): Promise<Found> {
    // The jobs of an id that was given up were given away.
    this.#doubtful = this.#doubtful.filter((one) => one.workerId === workerId)
    const doubtful = this.#doubtful.shift()
    if (!doubtful) return NOTHING
    try {
      // Not before its session is gone: the lease of a claim that commits after the look would stay with this worker, and nobody would run it.
      if (await this.#mayStillCommit(doubtful)) throw new Error('A claim whose connection broke is still ending.')
      const { connection, schema } = this.leasing
      const { number } = doubtful
      // Its session may be alive where nothing ends it, behind a lock that it waits for.
      if (!this.leasing.session.locks) await fenceLease(connection, schema, { workerId, number })
      const sentAt = performance.now()
      const jobs = await readLease(connection, schema, { workerId, number })
      return await this.#admit(workerId, number, jobs, sentAt)
    } catch (error) {
      this.#doubtful.push(doubtful)
      throw error
    }
  }

  async #mayStillCommit({ workerId, backendPid, brokenAt }: Doubtful): Promise<boolean> {
    const { connection, schema, session } = this.leasing
    if (!session.locks) return performance.now() < brokenAt + GONE_MS
    return endSession(connection, schema, { workerId, backendPid })
  }

  /** Ours are those that need not wait for others of their concurrency key. */
  async #admit(workerId: number, number: number, jobs: readonly ClaimedJob[], sentAt: number): Promise<Found> {
    const { connection, schema } = this.leasing
    if (!jobs.some(concurrencyOf)) return this.#found(workerId, number, jobs, sentAt)
    const refused = await parkRefusedJobs(connection, schema, { workerId, number }).catch((error) => {
      if (isRefusal(error) || isCancelled(error)) return undefined
      throw error
    })
    if (!refused) return this.#admitUnparked(workerId, number, jobs, sentAt)
    const admitted = jobs.filter(({ ordinal }) => !refused.has(ordinal))
    if (admitted.length === 0) await acknowledge(connection, schema, { workerId, finished: [number], partial: [] })
    return { ...this.#found(workerId, number, admitted, sentAt), parked: jobs.length - admitted.length }
  }

  /** What cannot be written stays in the lease, and keeps none of its key from running. */
  async #admitUnparked(workerId: number, number: number, jobs: readonly ClaimedJob[], sentAt: number): Promise<Found> {
    const { connection, schema } = this.leasing
    const refused = await refuseJobs(connection, schema, { workerId, number })
    const { claims, parked } = this.#found(workerId, number, jobs, sentAt)
    const isRefused = ({ job }: Claim) => refused.has(job.ordinal)
    return { claims: claims.filter((claim) => !isRefused(claim)), parked, unparked: claims.filter(isRefused) }
  }

  #found(workerId: number, number: number, jobs: readonly ClaimedJob[], sentAt: number): Found {
    const lease = new Lease(workerId, number, jobs.length, sentAt)
    return { claims: jobs.map((job) => this.claimOf(job, lease)), parked: 0, unparked: [] }
  }
}

const NOTHING: Found = { claims: [], parked: 0, unparked: [] }
