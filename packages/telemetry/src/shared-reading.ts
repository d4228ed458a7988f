/** What a reading answered, or that it did not. */
export type Reading<Value> = { readonly value: Value; readonly tookMs: number } | undefined

const MIN_PATIENCE_MS = 10_000
const MAX_PATIENCE_MS = 300_000

/**
 * One answer for all who ask within cacheMs, and one question under way at a time: a database that is slow must not be asked
 * again with every scrape. Who asks waits for timeoutMs at most. Neither a failure nor the timeout is thrown: it is no answer.
 *
 * A question that a dead connection never answers is given up, and another one asked. It may hold a connection of the pool for
 * good, so each of them gets twice as long as the one before.
 */
export class SharedReading<Value> {
  #last: { readonly reading: Reading<Value>; readonly at: number } | undefined
  #pending: { readonly reading: Promise<Reading<Value>>; readonly since: number } | undefined
  #patienceMs: number

  constructor(
    private readonly read: () => Promise<Value>,
    private readonly times: { readonly cacheMs: number; readonly timeoutMs: number },
    private readonly onError: (error: unknown) => void,
  ) {
    this.#patienceMs = this.#firstPatienceMs
  }

  async get(): Promise<Reading<Value>> {
    if (this.#last && performance.now() - this.#last.at < this.times.cacheMs) return this.#last.reading
    if (this.#pending && performance.now() - this.#pending.since >= this.#patienceMs) this.#giveUp()
    this.#pending ??= this.#begin()
    return this.#inTime(this.#pending.reading)
  }

  get #firstPatienceMs(): number {
    return Math.max(10 * this.times.timeoutMs, MIN_PATIENCE_MS)
  }

  #begin() {
    const since = performance.now()
    const pending = {
      since,
      reading: this.read()
        .then(
          (value) => ({ value, tookMs: performance.now() - since }),
          (error) => this.#failed(error),
        )
        .then((reading) => {
          if (this.#pending === pending) this.#settle(reading)
          return reading
        }),
    }
    return pending
  }

  #settle(reading: Reading<Value>): void {
    this.#last = { reading, at: performance.now() }
    this.#pending = undefined
    this.#patienceMs = this.#firstPatienceMs
  }

  #giveUp(): void {
    this.#failed(
      new Error(`The database has not answered for ${Math.round(this.#patienceMs / 1_000)} s: it is asked again.`),
    )
    this.#pending = undefined
    this.#patienceMs = Math.max(this.#firstPatienceMs, Math.min(2 * this.#patienceMs, MAX_PATIENCE_MS))
  }

  #failed(error: unknown): undefined {
    try {
      this.onError(error)
    } catch {} // who is told throws, too: there is nobody left to tell
  }

  #inTime(reading: Promise<Reading<Value>>): Promise<Reading<Value>> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.times.timeoutMs, undefined)
      void reading.then((answer) => {
        clearTimeout(timer)
        resolve(answer)
      })
    })
  }
}
