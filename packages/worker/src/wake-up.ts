/** What a waiting loop waits for: the next ring, or the end of its patience. A ring while nobody waits is kept. */
export class WakeUp {
  #rung = false
  #resolve: (() => void) | undefined

  /** Ends the wait, or the next one. */
  ring(): void {
    this.#rung = true
    this.#resolve?.()
  }

  /** True when rung, false after ms. */
  async wait(ms: number): Promise<boolean> {
    if (!this.#rung) {
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#resolve = resolve
        if (ms !== Number.POSITIVE_INFINITY) timer = setTimeout(resolve, Math.min(ms, 2 ** 31 - 1))
      })
      clearTimeout(timer)
      this.#resolve = undefined
    }
    const rung = this.#rung
    this.#rung = false
    return rung
  }
}
