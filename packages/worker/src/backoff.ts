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

/** The one account of whether the database answers, shared by all loops of a worker. */
export class Outage {
  #since: number | undefined

  constructor(private readonly events: Events) {}

  lost(error: unknown): void {
    if (this.#since !== undefined) return
    this.#since = Date.now()
    this.events.emit('database.lost', { error })
  }

  restored(): void {
    if (this.#since === undefined) return
    const downMs = Date.now() - this.#since
    this.#since = undefined
    this.events.emit('database.restored', { downMs })
  }
}
