import { type ClaimedJob, finishHeld, finishLocked, holdsLease, PgqError, sqlStateOf } from '@pgq/core'
import type pg from 'pg'
import type { Lease } from '../acknowledger.js'
import type { Backoff } from '../backoff.js'
import { breaksConnection, type Connection } from '../connection.js'
import { delay, endsWithin } from '../delay.js'
import { processIdOf } from '../session.js'
import { type Claim, CommitRefused, type Ending, RELEASE } from './delivery-mode.js'
import type { HandlerTransaction, Send } from './handler-transaction.js'
import { LeaseMode, type Leasing } from './lease-mode.js'

/** A transaction that has been open for this long takes no more handlers in, in ms. */
const MAX_GROUP_MS = 100

/** How long a statement of a handler that has ended may hold up the end of its job, in ms. */
const UNDO_MS = 1_000

/**
 * Claims move a batch into a lease, as those of at-least-once do. Each handler has a connection to itself, and the end of its job is
 * part of what it commits there: what it writes through job.trx happens exactly once. Short handlers may share a transaction, each
 * behind a savepoint. A kill -9 rolls back what was open, and the rescue gives the jobs back, their crash counted by the lease.
 */
export class Transactional extends LeaseMode {
  readonly name = 'transactional'
  /** Those that are not in a handler's hands; the one that has been so for longest comes first. */
  readonly #free: Slot[]
  readonly #waiting: ((slot: Slot) => void)[] = []
  /** After a group that could not commit, its jobs run one by one, so that each answers for itself. */
  #alone = 0
  #transactions!: typeof import('./handler-transaction.js')

  constructor(
    leasing: Leasing,
    connections: readonly Connection[],
    private readonly backoff: Backoff,
    private readonly groupSize: number,
  ) {
    super(leasing)
    this.#free = connections.map((connection) => new Slot(connection))
  }

  /** Kysely, hundreds of files: for transactional handlers alone, while their worker connects. */
  async load(): Promise<void> {
    this.#transactions = await import('./handler-transaction.js').catch((cause) => {
      // Said here, or it would be taken for what is wrong with the connection.
      const message = `Transactional handlers need kysely, which cannot be loaded: ${cause.message}`
      throw new PgqError('PGQ_INVALID_OPTION', message, { cause })
    })
  }

  transactionOf(send: Send): HandlerTransaction {
    return new this.#transactions.HandlerTransaction(send)
  }

  protected claimOf(job: ClaimedJob, lease: Lease): Claim {
    return new HeldClaim(job, lease, this)
  }

  /**
   * A connection for a handler of this lease, with an open transaction; undefined when the lease is gone, or, after a pause, when
   * there is no connection. One that is younger than the claim may have been opened after a rescue took the lease, or lead to a server
   * that forgot the claim in a crash or never had it.
   */
  async take(lease: Lease): Promise<Slot | undefined> {
    const slot = this.#pick() ?? (await new Promise<Slot>((resolve) => this.#waiting.push(resolve)))
    try {
      slot.transaction ??= new OpenTransaction(this, slot, await slot.connection.client())
      const isHeld = slot.connection.openedAt <= lease.claimedAt || (await this.#findsHeld(lease, slot))
      this.backoff.succeeded()
      if (isHeld) return slot
    } catch (error) {
      if (slot.transaction && breaksConnection(error)) slot.connection.drop(slot.transaction.client)
      slot.transaction?.commit() // which fails, too
      await delay(this.backoff.failed(error), slot.connection.closed)
    }
    this.leave(slot)
    return undefined
  }

  /** The handler has ended. Its transaction commits now, or waits for the next handler, if there is one at once. */
  leave(slot: Slot): void {
    const { transaction } = slot
    if (this.#alone > 0) this.#alone -= 1
    const size = this.#alone > 0 ? 1 : this.groupSize
    const isFull = !transaction || transaction.size >= size || transaction.ageMs > MAX_GROUP_MS || transaction.broken
    if (isFull) transaction?.commit()
    else setImmediate(() => this.#free.includes(slot) && transaction.commit())
    this.#give(slot)
  }

  async #findsHeld(lease: Lease, { connection, transaction }: Slot): Promise<boolean> {
    if (lease.workerId !== this.leasing.session.workerId) return false
    return holdsLease(connection.on(transaction!.client), this.leasing.schema, lease)
  }

  #give(slot: Slot): void {
    const next = this.#waiting.shift()
    if (next) next(slot)
    else this.#free.push(slot)
  }

  /** One with an open group first: the sooner it is full, the sooner it commits. Else the one that has been free for longest. */
  #pick(): Slot | undefined {
    const open = this.#free.findLastIndex(({ transaction }) => transaction)
    return this.#free.splice(Math.max(open, 0), 1)[0]
  }

  groupFailed(jobs: number): void {
    this.#alone = jobs + 1
  }
}

/** A connection for handlers, one at a time. */
class Slot {
  transaction: OpenTransaction | undefined

  constructor(readonly connection: Connection) {}
}

/** A transaction of one job, or of a group, from its first statement to its commit. */
class OpenTransaction {
  /** Handlers that were here. */
  size = 0
  /** Jobs that end with the commit. */
  readonly #done: HeldClaim[] = []
  readonly #openedAt = performance.now()
  #isBegun = false
  /** Jobs have written into it that will be committed with it. */
  #hasWork = false
  /** Why nothing in it can be committed: a statement failed that was nobody's, or what it did could not be undone. */
  broken: unknown
  #ended = false
  #end!: (work: Promise<boolean>) => void
  readonly #committed = new Promise<boolean>((resolve) => {
    this.#end = resolve
  })

  constructor(
    private readonly mode: Transactional,
    private readonly slot: Slot,
    readonly client: pg.Client,
  ) {
    this.#committed.catch(() => {}) // told by each claim
  }

  get ageMs(): number {
    return performance.now() - this.#openedAt
  }

  /** A handler begins to write: what it writes can be undone alone. In the same packet as its first statement. */
  enter(): void {
    const text = this.#isBegun ? (this.#hasWork ? 'savepoint pgq_handler' : undefined) : BEGIN
    this.#isBegun = true
    if (text) this.client.query(text).catch((error) => this.#break(error))
  }

  /** Takes back what the handler wrote. Behind a statement that goes on and on, it gives the connection up. */
  async undo(): Promise<void> {
    if (this.broken) return
    const text = this.#hasWork ? 'rollback to savepoint pgq_handler' : 'rollback'
    this.#isBegun = this.#hasWork
    const undone = this.client.query(text).catch((error) => this.#break(error))
    if (await endsWithin(UNDO_MS, undone)) return
    this.#break(new Error('The connection was busy: what its handlers wrote is undone.'))
  }

  /** Resolves when the job, and what its handler wrote, is committed; to false when it was no longer ours. */
  complete(claim: HeldClaim, hasWritten: boolean): Promise<boolean> {
    this.#done.push(claim)
    this.#hasWork ||= hasWritten
    return this.#committed
  }

  /** Sent, not awaited: what follows on this connection is another transaction, whatever becomes of this one. */
  commit(): void {
    if (this.#ended) return
    this.#ended = true
    if (this.slot.transaction === this) this.slot.transaction = undefined
    this.#end(this.#commit())
  }

  /** What a statement failed of, when it only says that the connection was broken before. */
  explain(error: unknown): unknown {
    const loss = this.slot.connection.lossOf(this.client)
    if (!loss || !breaksConnection(error)) return error
    return sqlStateOf(loss) === IDLE_TOO_LONG ? new Error(IDLE, { cause: loss }) : loss
  }

  #break(error: unknown): void {
    this.broken ??= error
    this.slot.connection.drop(this.client)
  }

  async #commit(): Promise<boolean> {
    const { acknowledger } = this.mode.leasing
    if (!this.#hasWork) {
      const written = this.#done.map(({ lease, job }) => acknowledger.settle(lease, job, { kind: 'complete' }))
      return (await Promise.all(written)).every(Boolean)
    }
    try {
      await this.#send()
    } catch (error) {
      if (breaksConnection(error)) this.slot.connection.drop(this.client)
      const { lease, job } = this.#done[0]!
      const isKept = breaksConnection(error) && (await this.#isCommitted(lease, job))
      if (!isKept) return this.#refuse(this.explain(error))
    }
    for (const { lease } of this.#done) acknowledger.committed(lease)
    return true
  }

  async #send(): Promise<void> {
    const { client } = this
    if (this.broken) throw this.broken
    const executor = this.slot.connection.on(client)
    const { schema } = this.mode.leasing
    // Where nothing proves that a session is alive, the lease is locked instead.
    const finish = this.mode.leasing.session.locks
      ? () => [finishHeld(executor, schema, this.#done.map(placeOf))]
      : () => this.#done.map((claim) => finishLocked(executor, schema, placeOf(claim), claim.job.id))
    // COMMIT ends the transaction in any case: after a failed statement it is answered by ROLLBACK, without an error.
    const answers = await together(client, () =>
      Promise.allSettled([...finish(), client.query('commit').then(checkCommitted)]),
    )
    for (const answer of answers) if (answer.status === 'rejected') throw answer.reason
  }

  #isCommitted(lease: Lease, job: ClaimedJob): Promise<boolean> {
    const { session, acknowledger } = this.mode.leasing
    return acknowledger.isFinished(lease, job, { backendPid: session.locks ? processIdOf(this.client) : undefined })
  }

  /**
   * Nothing was committed. One job has failed then, unless what others did took it along; of a group nobody knows which it was: all of them
   * run again, one by one.
   */
  #refuse(error: unknown): false {
    if (isLeaseGone(error)) return false
    if (this.#done.length === 1 && !this.broken) throw new CommitRefused('', { cause: error })
    this.mode.groupFailed(this.#done.length)
    // What the database refuses stays in its lease; each claim tells of it.
    for (const { lease, job } of this.#done) this.mode.leasing.acknowledger.settle(lease, job, RELEASE).catch(() => {})
    throw error
  }
}

class HeldClaim implements Claim {
  #slot: Slot | undefined
  #transaction: OpenTransaction | undefined
  #handler: HandlerTransaction | undefined
  #hasWritten = false

  constructor(
    readonly job: ClaimedJob,
    readonly lease: Lease,
    private readonly mode: Transactional,
  ) {}

  async begin(): Promise<boolean> {
    this.#slot = await this.mode.take(this.lease)
    this.#transaction = this.#slot?.transaction
    if (!this.#transaction) return false
    this.#transaction.size += 1
    this.#handler = this.mode.transactionOf((text, values) => this.#send(text, values))
    return true
  }

  get trx(): Claim['trx'] {
    return this.#handler?.trx
  }

  isSpoiled(): boolean {
    return this.#hasWritten && this.#transaction?.client.getTransactionStatus?.() === 'E'
  }

  async settle(ending: Ending): Promise<boolean> {
    if (ending.kind === 'complete') return this.#complete()
    // Others' fault, or the network's: this handler had no transaction to write into.
    const broken = this.#slot && this.#hasWritten && ending.kind !== 'release' && this.#transaction!.broken
    await this.#leave()
    const isOurs = await this.mode.leasing.acknowledger.settle(this.lease, this.job, broken ? RELEASE : ending)
    if (broken && isOurs) throw broken
    return isOurs
  }

  #complete(): Promise<boolean> {
    // A handler that goes on after its abort, or that awaits nothing, must not write into the next job's transaction.
    this.#handler?.close()
    const committed = this.#transaction!.complete(this, this.#hasWritten)
    this.mode.leave(this.#slot!)
    this.#slot = undefined
    return committed
  }

  /** What the handler wrote is undone, and its connection given to the next one. */
  async #leave(): Promise<void> {
    this.#handler?.close()
    const slot = this.#slot
    if (!slot) return
    this.#slot = undefined
    if (this.#hasWritten) await this.#transaction!.undo()
    this.mode.leave(slot)
  }

  async #send(text: string, values: unknown[]): Promise<pg.QueryResult> {
    const transaction = this.#transaction!
    const { client } = transaction
    const isFirst = !this.#hasWritten
    this.#hasWritten = true
    try {
      if (!isFirst) return await client.query(text, values)
      return await together(client, () => {
        transaction.enter()
        return client.query(text, values)
      })
    } catch (error) {
      throw transaction.explain(error)
    }
  }
}

/** SQLSTATE idle_in_transaction_session_timeout. */
const IDLE_TOO_LONG = '25P03'

const IDLE =
  'The server ended the transaction of this handler: it waited between two statements for longer than idle_in_transaction_session_timeout. Nothing of it was committed. Do what takes long before the first statement of job.trx, or raise that setting, as in connection: { idle_in_transaction_session_timeout: 300_000 }.'

const BEGIN = 'begin isolation level read committed'

const placeOf = ({ lease, job }: HeldClaim) => lease.placeOf(job)

function checkCommitted(result: pg.QueryResult): void {
  if (result.command === 'COMMIT') return
  throw new Error('The transaction was rolled back: a statement in it had failed.')
}

/** There was no number to write: the lease was given away. */
const isLeaseGone = (error: unknown): boolean =>
  sqlStateOf(error) === '23502' && (error as { table?: string }).table === 'finished_jobs'

/**
 * What is sent inside leaves in one packet, with what follows in this turn of the event loop: a COMMIT and the first statement of the
 * next job. Each packet costs both sides more than the statements in it.
 */
function together<Result>(client: pg.Client, send: () => Result): Result {
  const { stream } = client.connection
  stream.cork()
  process.nextTick(() => stream.uncork())
  return send()
}
