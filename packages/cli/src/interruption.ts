const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const
type StopSignal = keyof typeof EXIT_CODES

/** While it lasts, the first Ctrl-C or SIGTERM is a request to end soon; a second one ends the process at once. */
export class Interruption {
  readonly #controller = new AbortController()
  #exitCode = 0

  constructor(private readonly onFirst: () => void = () => {}) {
    for (const signal of Object.keys(EXIT_CODES)) process.on(signal, this.#heard)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  get requested(): boolean {
    return this.signal.aborted
  }

  /** 130 or 143; 0 while there was none. */
  get exitCode(): number {
    return this.#exitCode
  }

  /** Leaves the signals to Node again. */
  end(): void {
    for (const signal of Object.keys(EXIT_CODES)) process.off(signal, this.#heard)
  }

  #heard = (signal: StopSignal) => {
    if (this.requested) process.exit(EXIT_CODES[signal])
    this.#exitCode = EXIT_CODES[signal]
    this.#controller.abort()
    this.onFirst()
  }
}
