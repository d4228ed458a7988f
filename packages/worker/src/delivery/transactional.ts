import {
  type ClaimedJob,
  type ClaimRequest,
  claimAndDelete,
  type PreparingClient,
  restoreJobs,
  type Settlement,
} from '@pgq/core'
import type pg from 'pg'
import { breaksConnection, type Connection } from '../connection.js'
import { type Claim, CommitRefused, type DeliveryMode } from './delivery-mode.js'
import { handlerTransaction } from './handler-transaction.js'

// Deferred constraints speak up while the savepoint is still there; the rest of the text is not run then.
const COMMIT = 'set constraints all immediate; commit'

// The planner settings of our own statement, for the claim alone: what the handler runs is planned as always.
const BEGIN = 'begin isolation level read committed; set local enable_seqscan = off; set local enable_bitmapscan = off'
const HAND_OVER = 'set local enable_seqscan to default; set local enable_bitmapscan to default; savepoint pgq_handler'

/** Notes which jobs are about to run, durably enough to count their crashes, before they do. */
export interface Holdings {
  add(jobId: string): Promise<void>
  remove(jobId: string): void
}

/**
 * Claim, handler and removal are one transaction on one connection: a kill -9 rolls all of it back at once, and what the
 * handler writes through job.trx happens exactly once. On failure the handler's part is rolled back to a savepoint, and the
 * job's return commits under the same row lock: nobody can take it in between.
 */
export class Transactional implements DeliveryMode {
  readonly name = 'transactional'
  readonly mayRetry = true
  readonly mayPrefetch = false
  readonly parallelClaims: number
  readonly #free: Connection[]

  constructor(
    private readonly schema: string,
    connections: readonly Connection[],
    private readonly holdings: Holdings,
  ) {
    this.#free = [...connections]
    this.parallelClaims = connections.length
  }

  /** Claims one job on one free connection, whatever the limit. */
  async claim(request: ClaimRequest): Promise<Claim[]> {
    const connection = this.#free.pop()
    if (!connection) return []
    let held = false
    try {
      const client = await connection.client()
      // Sent together, answered together: one round trip. Without a transaction (begin failed) the rest fails, too.
      const [, [job]] = await Promise.all([
        client.query(BEGIN),
        claimAndDelete(prepared(client), this.schema, { ...request, limit: 1 }),
        client.query(HAND_OVER),
      ])
      if (!job) {
        await client.query('rollback')
        return []
      }
      await this.holdings.add(job.id)
      held = true
      return [this.#claimed(connection, client, job)]
    } catch (error) {
      await connection.reset()
      throw error
    } finally {
      if (!held) this.#free.push(connection)
    }
  }

  async drain(): Promise<void> {}

  #claimed(connection: Connection, client: pg.Client, job: ClaimedJob): Claim {
    const transaction = handlerTransaction(client)
    const ended = async (work: () => Promise<void>) => {
      // A handler that goes on after its abort, or that awaits nothing, must not write into the next job's transaction.
      transaction.close()
      let refused = false
      try {
        await work()
      } catch (error) {
        refused = error instanceof CommitRefused
        if (!refused) await connection.reset()
        throw error
      } finally {
        if (!refused) {
          this.holdings.remove(job.id)
          this.#free.push(connection)
        }
      }
    }
    return {
      job,
      trx: transaction.trx,
      isSpoiled: () => client.getTransactionStatus?.() === 'E',
      settle: (settlement) => ended(() => this.#settle(client, job, settlement)),
      release: () => ended(async () => void (await client.query('rollback'))),
    }
  }

  async #settle(client: pg.Client, job: ClaimedJob, settlement: Settlement): Promise<void> {
    if (settlement.kind === 'complete') return this.#complete(client, job)
    await client.query('rollback to savepoint pgq_handler')
    await restoreJobs(client, this.schema, [{ job, settlement }])
    await client.query('commit')
  }

  async #complete(client: pg.Client, job: ClaimedJob): Promise<void> {
    let results: pg.QueryResult[]
    try {
      results = (await client.query(COMMIT)) as unknown as pg.QueryResult[]
    } catch (error) {
      throw breaksConnection(error) ? error : new CommitRefused('', { cause: error })
    }
    if (results.at(-1)?.command !== 'COMMIT')
      throw new Error(`The transaction of job ${job.id} was rolled back: a statement in it had failed.`)
  }
}

const prepared = (client: pg.Client): PreparingClient => ({
  queryPrepared: (name, text, values) => client.query({ name, text, values }),
})
