import {
  acknowledge,
  areFinished,
  beat,
  type ClaimedJob,
  endSession,
  finishState,
  isRefusal,
  type LeasePlace,
  type Return,
  returnJobs,
} from '@pgq/core'
import type { Backoff } from './backoff.js'
import { breaksConnection, type Connection, isCancelled } from './connection.js'
import { delay, endsWithin } from './delay.js'
import type { Ending } from './delivery/delivery-mode.js'

/** A claimed batch and what is settled of it. (workerId, number) is its token. */
export class Lease {
  settled = 0
  /** How many of the settled ones were written: only what is written may take the lease's row along. */
  written = 0

  constructor(
    readonly workerId: number,
    readonly number: number,
    readonly size: number,
    /** When its claim was sent, by performance.now(). */
    readonly claimedAt: number,
  ) {}

  placeOf({ ordinal }: ClaimedJob): LeasePlace {
    return { workerId: this.workerId, number: this.number, ordinal }
  }
}

/** A job that goes back. The database may refuse it, for its error text, or by a trigger of the user's: it stays in the lease then. */
interface Returned {
  readonly place: Return
  readonly refuse: (error: unknown) => void
}

/** So many go back with one statement: with their args, and a statement may take 9 s. */
const MAX_RETURNS = 500

/** What was settled of one lease since the last write, and how that write ended: true when the lease was still ours. */
class Unwritten {
  readonly done: number[] = []
  readonly returns = new Set<Returned>()
  answer!: (ours: boolean) => void
  readonly #written = new Promise<boolean>((resolve) => {
    this.answer = resolve
  })

  complete(ordinal: number): Promise<boolean> {
    this.done.push(ordinal)
    return this.#written
  }

  giveBack(place: Return): Promise<boolean> {
    const refused = new Promise<never>((_, reject) => {
      const returned: Returned = {
        place,
        refuse: (error) => {
          this.returns.delete(returned)
          reject(error)
        },
      }
      this.returns.add(returned)
    })
    return Promise.race([refused, this.#written])
  }

  get size(): number {
    return this.done.length + this.returns.size
  }
}

/** Which jobs are finished by their handlers' transactions: one statement for all. */
interface Asking {
  readonly places: LeasePlace[]
  readonly answers: Promise<boolean[]>
}

/** How long a success may wait for its neighbours, in ms. A lease that is settled whole goes at once. */
const GATHER_MS = 5

/** How often to look at the transaction of a job.finish() that goes on after its handler has ended, in ms: at first, and later. */
const LOOK_MS = 100
const MAX_LOOK_MS = 5_000

const STILL_OPEN =
  'The transaction in which the job was finished was still open when the worker ended. Should it not commit, the job runs again.'

/**
 * Writes settlements in batches, one statement under way at a time. Each promise resolves when its settlement is durable; to
 * false when the lease was gone. While the database is away it keeps them and tries again: a settlement names its lease, so
 * sending it twice does no harm.
 */
export class Acknowledger {
  #pending = new Map<Lease, Unwritten>()
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined
  #asking: Asking | undefined

  constructor(
    private readonly schema: string,
    private readonly connection: Connection,
    private readonly backoff: Backoff,
  ) {}

  settle(lease: Lease, job: ClaimedJob, ending: Ending): Promise<boolean> {
    const unwritten = this.#pending.get(lease) ?? new Unwritten()
    if (unwritten.size === 0) this.#pending.set(lease, unwritten)
    const written =
      ending.kind === 'complete'
        ? unwritten.complete(job.ordinal)
        : unwritten.giveBack({ number: lease.number, ordinal: job.ordinal, ...ending })
    lease.settled += 1
    this.#flushSoon(lease.settled === lease.size ? 0 : GATHER_MS)
    return written
  }

  /** A job of the lease was finished by a transaction that has committed. */
  committed(lease: Lease): void {
    lease.settled += 1
    lease.written += 1
    this.#removeWhole(lease)
  }

  /**
   * Whether the transaction in which a job was finished was committed. Asks until the database answers and that transaction
   * has ended; throws when it is still open at the end of the worker. calls: those that finish it, which may still be on their way. backendPid: the
   * session that it ran in, if that is known and was given up; it is ended.
   */
  async isFinished(
    lease: Lease,
    job: ClaimedJob,
    { calls, backendPid }: { readonly calls?: Promise<unknown>; readonly backendPid?: number | undefined },
  ): Promise<boolean> {
    const { connection, schema } = this
    const place = lease.placeOf(job)
    const stateOf = async () => {
      if (backendPid !== undefined) {
        const isOpen = await endSession(connection, schema, { workerId: lease.workerId, backendPid })
        if (isOpen) return 'open'
      }
      if (await this.#isFinished(place)) return 'committed'
      return backendPid === undefined ? finishState(connection, schema, place, job.id) : 'rolled back'
    }
    for (let lookMs = LOOK_MS; !connection.closed.aborted; lookMs = Math.min(lookMs * 2, MAX_LOOK_MS)) {
      if (calls && !(await endsWithin(lookMs, calls))) continue
      try {
        const state = await stateOf()
        if (state !== 'open') return state === 'committed'
        await delay(lookMs, connection.closed)
      } catch (error) {
        if (connection.closed.aborted) throw error
        await delay(this.backoff.failed(error), connection.closed)
      }
    }
    throw new Error(STILL_OPEN)
  }

  /** Asked together with all that comes within a few milliseconds: a packet for each of them took a fifth of a short job's time. */
  async #isFinished(place: LeasePlace): Promise<boolean> {
    this.#asking ??= this.#askSoon()
    const { places, answers } = this.#asking
    const index = places.push(place) - 1
    return (await answers)[index]!
  }

  #askSoon(): Asking {
    const places: LeasePlace[] = []
    const answers = delay(GATHER_MS, this.connection.closed).then(() => {
      this.#asking = undefined
      return areFinished(this.connection, this.schema, places)
    })
    return { places, answers }
  }

  /** Resolves when everything settled so far is durable. */
  async drain(): Promise<void> {
    while (this.#pending.size > 0 || this.#flushing) await (this.#flushing ?? this.#flush())
  }

  /** A lease of which all is written, part of it by transactions, has a row still. */
  #removeWhole(lease: Lease): void {
    if (lease.written < lease.size || this.#pending.has(lease)) return
    this.#pending.set(lease, new Unwritten())
    this.#flushSoon(GATHER_MS)
  }

  #flushSoon(ms: number): void {
    if (this.#flushing || (this.#timer && ms > 0)) return
    clearTimeout(this.#timer)
    this.#timer = ms > 0 ? setTimeout(() => void this.#flush(), ms) : undefined
    if (ms === 0) void this.#flush()
  }

  #flush(): Promise<void> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#flushing ??= this.#writeAll().finally(() => {
      this.#flushing = undefined
      if (this.#pending.size > 0) this.#flushSoon(this.#hasWholeLease() ? 0 : GATHER_MS)
    })
    return this.#flushing
  }

  #hasWholeLease(): boolean {
    for (const lease of this.#pending.keys()) if (lease.settled === lease.size) return true
    return false
  }

  async #writeAll(): Promise<void> {
    const batch = this.#pending
    this.#pending = new Map()
    // What cannot be written before the connection is closed is found by a rescue.
    for (let doubtful = false; !this.connection.closed.aborted; ) {
      try {
        await this.#write(batch, doubtful)
        this.backoff.succeeded()
        return
      } catch (error) {
        doubtful ||= breaksConnection(error)
        await delay(this.backoff.failed(error), this.connection.closed)
      }
    }
  }

  async #write(batch: Map<Lease, Unwritten>, doubtful: boolean): Promise<void> {
    for (const [workerId, leases] of byWorker(batch.keys())) {
      const returns = leases.flatMap((lease) => [...batch.get(lease)!.returns])
      const returned = returns.length > 0 ? await this.#return(workerId, returns) : []
      // Not what is settled: that may have grown since this batch was taken, and must wait for the next one.
      const isWhole = (lease: Lease) => lease.written + batch.get(lease)!.size === lease.size
      const finished = leases.filter(isWhole).map(({ number }) => number)
      const partial = leases
        .filter((lease) => !isWhole(lease))
        .map((lease) => ({ number: lease.number, done: batch.get(lease)!.done }))
        .filter(({ done }) => done.length > 0)
      const ours = new Set(returned)
      if (finished.length > 0 || partial.length > 0) {
        const kept = await acknowledge(this.connection, this.schema, { workerId, finished, partial })
        for (const number of kept) ours.add(number)
      }
      // A row that is missing after a lost answer may have been removed by that very statement, unless we were taken for dead.
      const allOurs =
        doubtful &&
        leases.some(({ number }) => !ours.has(number)) &&
        (await beat(this.connection, this.schema, workerId)) !== null
      for (const lease of leases) {
        const unwritten = batch.get(lease)!
        const isRemoved = finished.includes(lease.number)
        lease.written += unwritten.size
        unwritten.answer(allOurs || ours.has(lease.number))
        batch.delete(lease)
        // What was missing may have been committed by a transaction meanwhile.
        if (!isRemoved) this.#removeWhole(lease)
      }
    }
  }

  /** Answers the numbers of the leases that were still ours. What is refused, or takes too long, is halved: one job alone is refused. */
  async #return(workerId: number, returns: readonly Returned[]): Promise<Iterable<number>> {
    if (returns.length > MAX_RETURNS) return this.#returnHalves(workerId, returns)
    try {
      return await returnJobs(this.connection, this.schema, { workerId, returns: returns.map(({ place }) => place) })
    } catch (error) {
      const isOne = returns.length === 1
      if (!isRefusal(error) && (isOne || !isCancelled(error))) throw error
      if (!isOne) return this.#returnHalves(workerId, returns)
      returns[0]!.refuse(error)
      return []
    }
  }

  async #returnHalves(workerId: number, returns: readonly Returned[]): Promise<number[]> {
    const half = Math.ceil(returns.length / 2)
    const first = await this.#return(workerId, returns.slice(0, half))
    return [...first, ...(await this.#return(workerId, returns.slice(half)))]
  }
}

function byWorker(leases: Iterable<Lease>): Map<number, Lease[]> {
  const found = new Map<number, Lease[]>()
  for (const lease of leases) {
    const same = found.get(lease.workerId)
    if (same) same.push(lease)
    else found.set(lease.workerId, [lease])
  }
  return found
}
