import {
  type ClaimedJob,
  type ClaimRequest,
  claimAndDelete,
  claimSuspectAndDelete,
  type Executor,
  restoreJobs,
  type Settlement,
  type SuspectRequest,
  settleWaitingJob,
} from '@pgq/core'
import type pg from 'pg'
import { breaksConnection, type Connection } from '../connection.js'
import { delay } from '../delay.js'
import { type Claim, CommitRefused, type DeliveryMode } from './delivery-mode.js'
import { handlerTransaction } from './handler-transaction.js'
import { groupedClaims } from './transaction-group.js'

// Deferred constraints speak up while the savepoint is still there; the rest of the text is not run then.
const COMMIT = 'set constraints all immediate; commit'

// The planner settings of our own statement, for the claim alone: what the handler runs is planned as always. Without jit = off
// each claim is compiled before PostgreSQL 18, where a scan that is switched off counts as costly: 175 ms instead of 0.9 (on 15).
const BEGIN = `begin isolation level read committed;
  set local enable_seqscan = off; set local enable_bitmapscan = off; set local jit = off`
const HAND_OVER = `set local enable_seqscan to default; set local enable_bitmapscan to default; set local jit to default;
  savepoint pgq_handler; select pg_current_xact_id_if_assigned()::text as xid`

/** After a lost connection: how often to ask for what became of the job, and how long in between, in ms. */
const LOSS_TRIES = 20
const LOSS_TRY_MS = 250

/** Notes which jobs are about to run, durably enough to count their crashes, before they do. */
export interface Holdings {
  add(jobIds: readonly string[]): Promise<void>
  remove(jobIds: readonly string[]): void
}

/**
 * Claim, handler and removal are one transaction on one connection: a kill -9 rolls all of it back at once, and what the
 * handler writes through job.trx happens exactly once. On failure the handler's part is rolled back to a savepoint, and the
 * job's return commits under the same row lock: nobody can take it in between. Short handlers may share a transaction: see
 * groupedClaims.
 */
export class Transactional implements DeliveryMode {
  readonly name = 'transactional'
  readonly mayRetry = true
  readonly mayPrefetch = false
  readonly parallelClaims: number
  readonly jobsPerSlot: number
  readonly #free: Connection[]
  /** After a group that could not commit, its jobs run one by one, so that each answers for itself. */
  #alone = 0

  constructor(
    private readonly schema: string,
    connections: readonly Connection[],
    private readonly settlements: Connection,
    private readonly holdings: Holdings,
    groupSize: number,
  ) {
    this.#free = [...connections]
    this.parallelClaims = connections.length
    this.jobsPerSlot = groupSize
  }

  get hasRoom(): boolean {
    return this.#free.length > 0
  }

  /** Claims jobs on one free connection: one, or a group that shares its transaction. */
  claim(request: ClaimRequest): Promise<Claim[]> {
    const limit = this.#alone > 0 ? 1 : Math.min(request.limit, this.jobsPerSlot)
    return this.#claim((executor) => claimAndDelete(executor, this.schema, { ...request, limit }))
  }

  claimSuspect(request: SuspectRequest): Promise<Claim[]> {
    return this.#claim((executor) => claimSuspectAndDelete(executor, this.schema, request))
  }

  async #claim(claimOn: (executor: Executor) => Promise<ClaimedJob[]>): Promise<Claim[]> {
    const connection = this.#free.pop()
    if (!connection) return []
    let held = false
    try {
      const client = await connection.client()
      // Sent together, answered together: one round trip. Without a transaction (begin failed) the rest fails, too.
      const sent = [client.query(BEGIN), claimOn(connection.on(client)), client.query(HAND_OVER)] as const
      await Promise.allSettled(sent)
      // In their order: the first failure says why, the next ones only that the transaction is aborted.
      const [, jobs, handedOver] = [await sent[0], await sent[1], await sent[2]]
      if (jobs.length === 0) {
        await client.query('rollback')
        return []
      }
      if (this.#alone > 0) this.#alone -= 1
      await this.holdings.add(jobs.map(({ id }) => id))
      held = true
      return this.#claimed(connection, client, jobs, (handedOver as unknown as pg.QueryResult[]).at(-1)?.rows[0].xid)
    } catch (error) {
      await connection.reset()
      throw error
    } finally {
      if (!held) this.#free.push(connection)
    }
  }

  async drain(): Promise<void> {}

  #claimed(connection: Connection, client: pg.Client, jobs: readonly ClaimedJob[], xid: string): Claim[] {
    const { schema, settlements } = this
    const release = () => {
      this.holdings.remove(jobs.map(({ id }) => id))
      this.#free.push(connection)
    }
    const [job] = jobs
    if (jobs.length === 1) return [new HeldClaim({ job: job!, client, xid, schema, connection, settlements, release })]
    const lose = async () => {
      this.#alone = jobs.length
      await connection.reset()
    }
    return groupedClaims({
      jobs,
      client,
      schema,
      commit: async () => {
        try {
          checkCommitted(await client.query('commit'))
        } catch (error) {
          await lose()
          if (!breaksConnection(error) || !(await isCommitted(settlements, xid))) throw error
        } finally {
          release()
        }
      },
      rollBack: () => lose().finally(release),
    })
  }
}

interface Hold {
  readonly job: ClaimedJob
  readonly client: pg.Client
  /** The number of the transaction that holds the job. */
  readonly xid: string
  readonly schema: string
  readonly connection: Connection
  readonly settlements: Connection
  /** The connection is free for the next job. */
  release(): void
}

class HeldClaim implements Claim {
  readonly job: ClaimedJob
  readonly trx: NonNullable<Claim['trx']>
  readonly #close: () => void
  #lost = false

  constructor(private readonly hold: Hold) {
    const { trx, close } = handlerTransaction(hold.client)
    this.job = hold.job
    this.trx = trx
    this.#close = close
  }

  isSpoiled(): boolean {
    return this.hold.client.getTransactionStatus?.() === 'E'
  }

  async settle(settlement: Settlement): Promise<void> {
    // A handler that goes on after its abort, or that awaits nothing, must not write into the next job's transaction.
    this.#close()
    let refused = false
    try {
      await (settlement.kind === 'complete' ? this.#complete() : this.#return(settlement))
    } catch (error) {
      refused = error instanceof CommitRefused
      throw error
    } finally {
      if (!refused) this.hold.release()
    }
  }

  async release(): Promise<void> {
    this.#close()
    await this.hold.client.query('rollback').catch(() => this.#lose())
    this.hold.release()
  }

  async #complete(): Promise<void> {
    try {
      checkCommitted(await this.hold.client.query(COMMIT))
    } catch (error) {
      if (breaksConnection(error)) {
        await this.#lose()
        if (await isCommitted(this.hold.settlements, this.hold.xid)) return
      }
      throw new CommitRefused('', { cause: error })
    }
  }

  async #return(settlement: Returned): Promise<void> {
    const { client, job, schema } = this.hold
    if (!this.#lost) {
      try {
        await client.query('rollback to savepoint pgq_handler')
        await restoreJobs(client, schema, [{ job, settlement }])
        return checkCommitted(await client.query('commit'))
      } catch {
        await this.#lose()
      }
    }
    await this.#settleAfterLoss(settlement)
  }

  /** Gives the connection up: the transaction on it, if it was not committed, is rolled back. */
  async #lose(): Promise<void> {
    this.#lost = true
    await this.hold.connection.reset()
  }

  /** The transaction was rolled back with its connection. The failure is noted on the job, unless it runs elsewhere already. */
  async #settleAfterLoss(settlement: Returned): Promise<void> {
    const { job, schema, settlements } = this.hold
    for (let tries = 0; tries < LOSS_TRIES; tries++) {
      const answer = await settleWaitingJob(settlements, schema, job.id, settlement)
      if (answer === 'settled') return
      if (answer === 'gone') break
      await delay(LOSS_TRY_MS, settlements.closed)
    }
    throw new Error(
      `The connection of job ${job.id} was lost, and it runs elsewhere by now: this attempt is not counted.`,
    )
  }
}

type Returned = Exclude<Settlement, { kind: 'complete' }>

function checkCommitted(result: pg.QueryResult | pg.QueryResult[]): void {
  if ([result].flat().at(-1)?.command === 'COMMIT') return
  throw new Error('The transaction was rolled back: a statement in it had failed.')
}

/** Whether a COMMIT whose answer was lost took effect: the server knows, by the transaction's number. */
async function isCommitted(settlements: Connection, xid: string): Promise<boolean> {
  for (let tries = 0; tries < LOSS_TRIES && !settlements.closed.aborted; tries++) {
    const { rows } = await settlements
      .query(`select pg_xact_status('${xid}'::xid8) as status`)
      .catch(() => ({ rows: [{ status: 'unknown' }] }))
    if (rows[0].status === 'committed') return true
    if (rows[0].status === 'aborted' || rows[0].status === null) return false
    await delay(LOSS_TRY_MS, settlements.closed)
  }
  return false
}
