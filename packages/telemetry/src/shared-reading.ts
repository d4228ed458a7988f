/** What a reading answered, or that it did not. */
export type Reading<Value> = { readonly value: Value; readonly tookMs: number } | undefined

/**
 * One answer for all who ask within cacheMs, and one question under way at a time: a database that is slow must not be asked
 * again with every scrape. Who asks waits for timeoutMs at most. Neither a failure nor the timeout is thrown: it is no answer.
 */
export class SharedReading<Value> {
  #last: { readonly reading: Reading<Value>; readonly at: number } | undefined
  #pending: Promise<Reading<Value>> | undefined

  constructor(
    private readonly read: () => Promise<Value>,
    private readonly times: { readonly cacheMs: number; readonly timeoutMs: number },
    private readonly onError: (error: unknown) => void,
  ) {}

  async get(): Promise<Reading<Value>> {
    if (this.#last && performance.now() - this.#last.at < this.times.cacheMs) return this.#last.reading
    this.#pending ??= this.#begin()
    return this.#inTime(this.#pending)
  }

  async #begin(): Promise<Reading<Value>> {
    const start = performance.now()
    const reading = await this.read().then(
      (value) => ({ value, tookMs: performance.now() - start }),
      (error) => this.#failed(error),
    )
    this.#last = { reading, at: performance.now() }
    this.#pending = undefined
    return reading
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
