import { type ClaimedJob, restoreJobs, type Settlement } from '@pgq/core'
import type pg from 'pg'
import type { Claim } from './delivery-mode.js'
import { handlerTransaction } from './handler-transaction.js'

/** A group that has worked for this long starts no more handlers: what is left of it goes back, in ms. */
const MAX_GROUP_MS = 100

/** The transaction that holds a group of jobs. */
export interface GroupHold {
  readonly jobs: readonly ClaimedJob[]
  readonly client: pg.Client
  readonly schema: string
  /** Commits, or throws when the transaction is rolled back. The connection is free for the next group then. */
  commit(): Promise<void>
  /** Gives the connection up: the transaction is rolled back. */
  rollBack(): Promise<void>
}

/**
 * Jobs that share one transaction and one commit: their handlers run one after the other, each in a savepoint, so that one that
 * fails undoes nothing of the others. All of them are settled when the commit is durable; if it is not, none of them is.
 */
export function groupedClaims(hold: GroupHold): Claim[] {
  const group = new TransactionGroup(hold)
  return hold.jobs.map((job) => new GroupedClaim(job, hold, group))
}

class TransactionGroup {
  readonly #startedAt = performance.now()
  #left: number
  #last: Promise<void> = Promise.resolve()
  #lost: { readonly error: unknown } | undefined
  #end!: (work: Promise<void>) => void
  readonly end = new Promise<void>((resolve) => {
    this.#end = resolve
  })

  constructor(private readonly hold: GroupHold) {
    this.#left = hold.jobs.length
    this.end.catch(() => {}) // told by each claim
  }

  /** Resolves when all before have ended, with how to end one's own turn. */
  async turn(): Promise<() => void> {
    const before = this.#last
    let over!: () => void
    this.#last = new Promise((resolve) => {
      over = resolve
    })
    await before
    return () => {
      this.#left -= 1
      if (this.#left === 0) this.#end(this.#finish())
      over()
    }
  }

  /** No more handlers of this group may begin. */
  get isOver(): boolean {
    return this.#lost !== undefined || performance.now() - this.#startedAt > MAX_GROUP_MS
  }

  get isLost(): boolean {
    return this.#lost !== undefined
  }

  lose(error: unknown): void {
    this.#lost ??= { error }
  }

  async #finish(): Promise<void> {
    if (!this.#lost) return this.hold.commit()
    await this.hold.rollBack()
    throw this.#lost.error
  }
}

class GroupedClaim implements Claim {
  readonly trx: NonNullable<Claim['trx']>
  readonly #close: () => void
  readonly #turn: Promise<() => void>
  #begun = false

  constructor(
    readonly job: ClaimedJob,
    private readonly hold: GroupHold,
    private readonly group: TransactionGroup,
  ) {
    const { trx, close } = handlerTransaction(hold.client)
    this.trx = trx
    this.#close = close
    this.#turn = group.turn()
  }

  async begin(): Promise<boolean> {
    await this.#turn
    if (this.group.isOver) return false
    this.#begun = true
    await this.#send('savepoint pgq_handler')
    return !this.group.isLost
  }

  isSpoiled(): boolean {
    return this.hold.client.getTransactionStatus?.() === 'E'
  }

  async settle(settlement: Settlement): Promise<void> {
    if (settlement.kind === 'complete') await this.#send('release savepoint pgq_handler')
    else await this.#putBack(settlement)
    await this.#ended()
  }

  async release(): Promise<void> {
    await this.#turn
    await this.#putBack({ kind: 'release' })
    await this.#ended()
  }

  async #putBack(settlement: Exclude<Settlement, { kind: 'complete' }> | { readonly kind: 'release' }): Promise<void> {
    const { client, schema } = this.hold
    if (this.#begun) await this.#send('rollback to savepoint pgq_handler')
    if (this.group.isLost) return
    await restoreJobs(client, schema, [{ job: this.job, settlement }]).catch((error) => this.group.lose(error))
  }

  /** Hands the turn on; resolves when what this job did is durable. */
  async #ended(): Promise<void> {
    this.#close()
    const end = await this.#turn
    end()
    await this.group.end
  }

  async #send(sql: string): Promise<void> {
    if (this.group.isLost) return
    await this.hold.client.query(sql).catch((error) => this.group.lose(error))
  }
}
