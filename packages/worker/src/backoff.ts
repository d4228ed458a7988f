import type { Events } from './events.js'

/** Waits between tries while the database is away: 50 ms, doubling to 2 s, with jitter. Says so once per outage, in all. */
export class Backoff {
  #tries = 0

  constructor(private readonly outage: Outage) {}

  /** The next delay after a failure, in ms. */
  failed(error: unknown): number {
    this.outage.lost(error)
    const ceiling = Math.min(50 * 2 ** this.#tries++, 2_000)
    return ceiling * (0.5 + Math.random() / 2)
  }

  succeeded(): void {
    if (this.#tries === 0) return
    this.#tries = 0
    this.outage.restored()
  }
}

/** Where only some connections fail, others end each outage at once: no more than one is told in this time, in ms. */
const QUIET_MS = 10_000

/** The one account of whether the database answers, shared by all loops of a worker. */
export class Outage {
  #since: number | undefined
  #quietUntil = Number.NEGATIVE_INFINITY

  constructor(private readonly events: Events) {}

  lost(error: unknown): void {
    const now = performance.now()
    if (this.#since !== undefined || now < this.#quietUntil) return
    this.#since = now
    this.events.emit('database.lost', { error })
  }

  restored(): void {
    if (this.#since === undefined) return
    const now = performance.now()
    const downMs = Math.round(now - this.#since)
    this.#since = undefined
    this.#quietUntil = now + QUIET_MS
    this.events.emit('database.restored', { downMs })
  }
}
