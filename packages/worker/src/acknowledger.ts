import { acknowledge, type ClaimedJob, LostLeaseError, type Return, returnJobs, type Settlement } from '@pgq/core'
import type { Backoff } from './backoff.js'
import { breaksConnection, type Connection } from './connection.js'
import { delay } from './delay.js'

/** A claimed batch and what is settled of it. (workerId, number) is its token. */
export class Lease {
  settled = 0
  /** How many of the settled ones were written: only what is written may take the lease's row along. */
  written = 0
  lost = false

  constructor(
    readonly workerId: number,
    readonly number: number,
    readonly size: number,
  ) {}
}

interface Entry {
  readonly job: ClaimedJob
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
  readonly settlement: Settlement | { readonly kind: 'release' }
}

/** How long a success may wait for its neighbours, in ms. A lease that is settled whole goes at once. */
const GATHER_MS = 5

/**
 * Writes settlements in batches, one statement under way at a time. Each promise resolves when its settlement is durable, and
 * rejects with LostLeaseError when the lease was gone. While the database is away it keeps them and tries again: a
 * settlement names its lease, so sending it twice does no harm.
 */
export class Acknowledger {
  #pending = new Map<Lease, Entry[]>()
  #timer: NodeJS.Timeout | undefined
  #flushing: Promise<void> | undefined

  constructor(
    private readonly schema: string,
    private readonly connection: Connection,
    private readonly backoff: Backoff,
    private readonly isAlive: (workerId: number) => Promise<boolean>,
  ) {}

  settle(lease: Lease, job: ClaimedJob, settlement: Entry['settlement']): Promise<void> {
    return new Promise((resolve, reject) => {
      const entries = this.#pending.get(lease)
      const entry = { job, settlement, resolve, reject }
      if (entries) entries.push(entry)
      else this.#pending.set(lease, [entry])
      lease.settled += 1
      if (lease.settled === lease.size) this.#flushSoon(0)
      else this.#flushSoon(GATHER_MS)
    })
  }

  /** Resolves when everything settled so far is durable. */
  async drain(): Promise<void> {
    while (this.#pending.size > 0 || this.#flushing) await (this.#flushing ?? this.#flush())
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

  async #write(batch: Map<Lease, Entry[]>, doubtful: boolean): Promise<void> {
    for (const [workerId, leases] of byWorker(batch.keys())) {
      const returns: Return[] = []
      for (const lease of leases) {
        for (const { job, settlement } of batch.get(lease)!) {
          if (settlement.kind !== 'complete')
            returns.push({ number: lease.number, ordinal: job.ordinal, ...settlement })
        }
      }
      const returned =
        returns.length > 0 ? await returnJobs(this.connection, this.schema, { workerId, returns }) : undefined
      // Not what is settled: that may have grown since this batch was taken, and must wait for the next one.
      const isWhole = (lease: Lease) => lease.written + batch.get(lease)!.length === lease.size
      const finished = leases.filter(isWhole)
      const partial = leases
        .filter((lease) => !isWhole(lease))
        .map((lease) => ({ number: lease.number, done: completedPlaces(batch.get(lease)!) }))
        .filter(({ done }) => done.length > 0)
      const numbers = finished.map(({ number }) => number)
      const ours = new Set(returned)
      if (numbers.length > 0 || partial.length > 0) {
        const kept = await acknowledge(this.connection, this.schema, { workerId, finished: numbers, partial })
        for (const number of kept) ours.add(number)
      }
      // A row that is missing after a lost answer may have been removed by that very statement, unless we were taken for dead.
      const allOurs = doubtful && leases.some(({ number }) => !ours.has(number)) && (await this.isAlive(workerId))
      for (const lease of leases) this.#answer(lease, batch.get(lease)!, allOurs || ours.has(lease.number))
      for (const lease of leases) batch.delete(lease)
    }
  }

  #answer(lease: Lease, entries: readonly Entry[], ours: boolean): void {
    if (!ours) lease.lost = true
    lease.written += entries.length
    for (const { job, resolve, reject } of entries) {
      if (ours) resolve()
      else reject(new LostLeaseError(job.id))
    }
  }
}

const completedPlaces = (entries: readonly Entry[]): number[] =>
  entries.filter(({ settlement }) => settlement.kind === 'complete').map(({ job }) => job.ordinal)

function byWorker(leases: Iterable<Lease>): Map<number, Lease[]> {
  const found = new Map<number, Lease[]>()
  for (const lease of leases) {
    const same = found.get(lease.workerId)
    if (same) same.push(lease)
    else found.set(lease.workerId, [lease])
  }
  return found
}
