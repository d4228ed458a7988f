import {
  type ClaimedJob,
  type ClaimRequest,
  claimAndDelete,
  claimSuspectAndDelete,
  type Executor,
  isRefusal,
  type Restore,
  restoreJobs,
  type SuspectRequest,
  sqlStateOf,
} from '@pgq/core'
import type { Backoff } from '../backoff.js'
import { type Connection, isCancelled } from '../connection.js'
import { delay } from '../delay.js'
import { limits, type Session, waitForDisk } from '../session.js'
import type { Claim, DeliveryMode, Ending, Found } from './delivery-mode.js'

/**
 * The claim deletes: a job runs once, or not at all when the worker is lost. Failures are recorded among the dead letters and
 * never tried again. Jobs that were claimed and not yet started are given back on stop, those that were started and aborted are
 * dead; a crash loses them all, too: at most what runs, and what handlers would have started within about 75 ms.
 */
export class AtMostOnce implements DeliveryMode {
  readonly name = 'at-most-once'
  readonly mayRetry = false
  /** What is to be written next, while a write is under way. */
  #waiting: Unwritten[] = []
  #writing: Promise<void> | undefined

  constructor(
    private readonly schema: string,
    private readonly claims: Connection,
    private readonly settlements: Connection,
    private readonly backoff: Backoff,
    private readonly session: Pick<Session, 'isPooled'>,
  ) {}

  async claim(request: ClaimRequest): Promise<Found> {
    const jobs = await this.#inTime((executor) => claimAndDelete(executor, this.schema, request))
    return this.#found(jobs)
  }

  /** One that was a job of another mode when it crashed. */
  async claimSuspect(request: SuspectRequest): Promise<Found> {
    return this.#found(await this.#inTime((executor) => claimSuspectAndDelete(executor, this.schema, request)))
  }

  /**
   * A claim that waits for a lock must not commit after it was given up, and one that commits must be on disk. Our connections are set so;
   * of a server session behind a pooler only the transaction is ours.
   */
  #inTime(claim: (executor: Executor) => Promise<ClaimedJob[]>): Promise<ClaimedJob[]> {
    if (!this.session.isPooled) return claim(this.claims)
    return this.claims.useInTurn(async (client) => {
      try {
        await client.query(BEGIN)
        const jobs = await claim(this.claims.on(client))
        await client.query('commit')
        return jobs
      } catch (error) {
        this.claims.drop(client) // with the transaction that is still open on it
        throw error
      }
    })
  }

  #found(jobs: readonly ClaimedJob[]): Found {
    return { claims: jobs.map((job) => new DeletedClaim(job, this)), parked: 0, unparked: [] }
  }

  async drain(): Promise<void> {
    await this.#writing
  }

  /** Writes a job back. Resolves when that is durable. */
  restore(job: ClaimedJob, settlement: Restore): Promise<true> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, settlement, resolve, reject })
      this.#writing ??= this.#writeAll()
    })
  }

  async #writeAll(): Promise<void> {
    while (this.#waiting.length > 0) await this.#write(takeSome(this.#waiting))
    this.#writing = undefined
  }

  /** In one transaction. Where the database refuses one of them for its data, or that takes too long, each has its own: only what is refused is lost. */
  async #write(batch: readonly Unwritten[]): Promise<void> {
    try {
      await this.#writeUntilDone(batch)
      for (const { resolve } of batch) resolve(true)
    } catch (error) {
      if (batch.length > 1 && (isRefusal(error) || isCancelled(error)))
        for (const one of batch) await this.#write([one])
      else for (const { reject } of batch) reject(error)
    }
  }

  /**
   * The claim removed the jobs: until this is written, they exist here alone. A try whose answer was lost is repeated only when
   * the server knows that it did not commit: a job may have been claimed again since, and must not run twice.
   */
  async #writeUntilDone(batch: readonly Unwritten[]): Promise<void> {
    let xid: string | undefined
    for (;;) {
      try {
        if (xid !== undefined && (await this.#mayBeCommitted(xid))) return
        xid = undefined
        await this.settlements.use(async (client) => {
          await client.query('begin')
          await restoreJobs(this.settlements.on(client), this.schema, batch)
          const { rows } = await client.query('select pg_current_xact_id()::text as xid')
          xid = rows[0].xid
          await client.query('commit')
        })
        return this.backoff.succeeded()
      } catch (error) {
        if (this.settlements.closed.aborted) throw error
        // At once: others use this connection, and would run inside the transaction that is still open on it.
        await this.settlements.reset()
        if (isRefusal(error) || (batch.length > 1 && xid === undefined && isCancelled(error))) {
          this.backoff.succeeded()
          throw error
        }
        await delay(this.backoff.failed(error), this.settlements.closed)
      }
    }
  }

  async #mayBeCommitted(xid: string): Promise<boolean> {
    const { rows } = await this.settlements.query(`select pg_xact_status('${xid}'::xid8) as status`).catch((error) => {
      // It lies in the future of a standby that took over without it.
      if (sqlStateOf(error) === '22023') return { rows: [{ status: 'aborted' }] }
      throw error
    })
    if (rows[0].status === 'in progress') throw new Error(`Transaction ${xid} is still ending.`)
    return rows[0].status !== 'aborted'
  }
}

const BEGIN = `begin; ${limits('set local')}; ${waitForDisk('set local')}`

class DeletedClaim implements Claim {
  constructor(
    readonly job: ClaimedJob,
    private readonly mode: AtMostOnce,
  ) {}

  settle(ending: Ending): Promise<boolean> {
    return ending.kind === 'complete' ? DELETED : this.mode.restore(this.job, ending)
  }
}

/** Nothing is left to be written. */
const DELETED = Promise.resolve(true)

interface Unwritten {
  readonly job: ClaimedJob
  readonly settlement: Restore
  readonly resolve: (written: true) => void
  readonly reject: (error: unknown) => void
}

/** At most this many jobs, and after the first one characters of args, are written back by one statement. */
const MAX_JOBS = 1_000
const MAX_LENGTH = 10_000_000

/** The first in line, as many as one statement should take. */
function takeSome(waiting: Unwritten[]): Unwritten[] {
  let length = 0
  const next = waiting.findIndex(({ job }, index) => {
    length += job.argsText.length
    return index === MAX_JOBS || (index > 0 && length > MAX_LENGTH)
  })
  return waiting.splice(0, next === -1 ? waiting.length : next)
}
