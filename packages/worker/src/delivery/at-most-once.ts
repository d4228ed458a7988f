import {
  type ClaimedJob,
  type ClaimRequest,
  claimAndDelete,
  claimSuspectAndDelete,
  type Restore,
  restoreJobs,
  type SuspectRequest,
} from '@pgq/core'
import type { Backoff } from '../backoff.js'
import type { Connection } from '../connection.js'
import { delay } from '../delay.js'
import type { Claim, DeliveryMode } from './delivery-mode.js'

/**
 * The claim deletes: a job runs once, or not at all when the worker is lost. Failures are recorded among the dead letters and
 * never tried again. Jobs that were claimed and not yet started are given back on stop, those that were started and aborted are
 * dead; a crash loses them all, too: at most what runs, and what handlers would have started within about 75 ms.
 */
export class AtMostOnce implements DeliveryMode {
  readonly name = 'at-most-once'
  readonly mayRetry = false
  readonly #writing = new Set<Promise<void>>()

  constructor(
    private readonly schema: string,
    private readonly claims: Connection,
    private readonly settlements: Connection,
    private readonly backoff: Backoff,
  ) {}

  async claim(request: ClaimRequest): Promise<Claim[]> {
    return this.#claimsOf(await claimAndDelete(this.claims, this.schema, request))
  }

  /** One that was a job of another mode when it crashed. */
  async claimSuspect(request: SuspectRequest): Promise<Claim[]> {
    return this.#claimsOf(await claimSuspectAndDelete(this.claims, this.schema, request))
  }

  #claimsOf(jobs: readonly ClaimedJob[]): Claim[] {
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

  /**
   * The claim removed the job: until this is written, it exists here alone. A try whose answer was lost is repeated only when
   * the server knows that it did not commit: the job may have been claimed again since, and must not run twice.
   */
  async #writeUntilDone(job: ClaimedJob, settlement: Restore): Promise<void> {
    let xid: string | undefined
    for (;;) {
      try {
        if (xid !== undefined && (await this.#mayBeCommitted(xid))) return
        xid = undefined
        await this.settlements.use(async (client) => {
          await client.query('begin')
          await restoreJobs(this.settlements.on(client), this.schema, [{ job, settlement }])
          const { rows } = await client.query('select pg_current_xact_id()::text as xid')
          xid = rows[0].xid
          await client.query('commit')
        })
        return this.backoff.succeeded()
      } catch (error) {
        if (this.settlements.closed.aborted) throw error
        // At once: others use this connection, and would run inside the transaction that is still open on it.
        await this.settlements.reset()
        if (isRefused(error)) {
          this.backoff.succeeded()
          throw error
        }
        await delay(this.backoff.failed(error), this.settlements.closed)
      }
    }
  }

  async #mayBeCommitted(xid: string): Promise<boolean> {
    const { rows } = await this.settlements.query(`select pg_xact_status('${xid}'::xid8) as status`)
    if (rows[0].status === 'in progress') throw new Error(`Transaction ${xid} is still ending.`)
    return rows[0].status !== 'aborted'
  }
}

/** For the data itself (22: it cannot be stored, 23: a constraint): each repetition would be refused, too. */
const isRefused = (error: unknown): boolean => /^2[23]/.test(String((error as { code?: unknown } | null)?.code))
