import type { Backoff } from './backoff.js'
import type { WakeUp } from './wake-up.js'

/** Work that is done again and again. */
export class Chores {
  #stopping = false
  readonly #wakeUps: WakeUp[] = []
  readonly #running: Promise<void>[] = []

  constructor(private readonly backoff: Backoff) {}

  /** Does it after firstAfterMs, and each time after the ms that it answered or when rung; after a failure, when the backoff says. */
  start(wakeUp: WakeUp, work: () => Promise<number>, firstAfterMs = 0): void {
    this.#wakeUps.push(wakeUp)
    this.#running.push(this.#repeat(wakeUp, work, firstAfterMs))
  }

  /** Resolves when what is under way has ended. */
  async stop(): Promise<void> {
    this.#stopping = true
    for (const wakeUp of this.#wakeUps) wakeUp.ring()
    await Promise.all(this.#running)
  }

  async #repeat(wakeUp: WakeUp, work: () => Promise<number>, firstAfterMs: number): Promise<void> {
    if (firstAfterMs > 0) await wakeUp.wait(firstAfterMs)
    while (!this.#stopping) {
      const ms = await work().then(
        (answer) => {
          this.backoff.succeeded()
          return answer
        },
        (error) => this.backoff.failed(error),
      )
      if (!this.#stopping) await wakeUp.wait(ms)
    }
  }
}
