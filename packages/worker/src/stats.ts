import { bucketOf, compactStats, type JobEnd, type JobStats, recordStats, STATS_BATCH } from '@pgq/core'
import type { Connection } from './connection.js'
import type { Events, WorkerEvents } from './events.js'
import { type Logger, loggableError } from './logger.js'

/** How often a working worker writes what it counted, in ms. */
const WRITE_MS = 5_000
/** How often a working worker adds up what is past, in ms. */
const COMPACT_MS = 60_000

type Counter = Record<JobEnd, number> & {
  queue: string
  task: string
  waits: Map<number, number>
  runs: Map<number, number>
}

/**
 * Counts how jobs ended, and appends the sums every few seconds while there are any: one statement, no row that others write to.
 * These are numbers for people: what a crash or a failed write takes with it is not counted, and nothing is counted twice.
 */
export class Stats {
  /** By queue and task: few, since a worker knows its handlers. */
  readonly #counters = new Map<string, Map<string, Counter>>()
  #timer: NodeJS.Timeout | undefined
  #compactedAt = Number.NEGATIVE_INFINITY
  #failing = false
  #writing: Promise<void> = Promise.resolve()

  constructor(
    private readonly schema: string,
    private readonly connection: Connection,
    private readonly logger: Logger,
    events: Events,
  ) {
    events.on('jobs.settled', (batch) => this.#count(batch))
  }

  /** Writes what is left. */
  async stop(): Promise<void> {
    if (this.#timer) this.#writeNow()
    await this.#writing
  }

  #count({ queue, task, runs }: WorkerEvents['jobs.settled']): void {
    const counter = this.#counter(queue, task)
    for (const { end, waitMs, durationMs } of runs) {
      counter[end] += 1
      add(counter.waits, bucketOf(waitMs))
      add(counter.runs, bucketOf(durationMs))
    }
    this.#timer ??= setTimeout(() => this.#writeNow(), WRITE_MS)
  }

  #counter(queue: string, task: string): Counter {
    const tasks = this.#counters.get(queue) ?? new Map<string, Counter>()
    const counter = tasks.get(task) ?? newCounter(queue, task)
    this.#counters.set(queue, tasks.set(task, counter))
    return counter
  }

  #writeNow(): void {
    const stats = [...this.#counters.values()].flatMap((tasks) => [...tasks.values()])
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#counters.clear()
    this.#writing = this.#writing.then(() => this.#write(stats))
  }

  async #write(stats: readonly JobStats[]): Promise<void> {
    try {
      await recordStats(this.connection, this.schema, stats)
      await this.#compact()
      this.#failing = false
    } catch (error) {
      if (!this.#failing) this.logger.warn({ err: loggableError(error) }, 'statistics could not be written')
      this.#failing = true
    }
  }

  /** Every working worker does this, once a minute: the more rows there are, the more of them. */
  async #compact(): Promise<void> {
    const now = performance.now()
    if (now - this.#compactedAt < COMPACT_MS) return
    this.#compactedAt = now
    while ((await compactStats(this.connection, this.schema)) === STATS_BATCH) {}
  }
}

const newCounter = (queue: string, task: string): Counter => ({
  ...{ queue, task, completed: 0, retried: 0, snoozed: 0, exhausted: 0, failed: 0, cancelled: 0 },
  ...{ waits: new Map(), runs: new Map() },
})

const add = (histogram: Map<number, number>, bucket: number): void => {
  histogram.set(bucket, (histogram.get(bucket) ?? 0) + 1)
}
