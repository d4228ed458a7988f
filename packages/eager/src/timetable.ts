import type { Settlement } from '@pgq/core'
import type { Entry } from './eager-job.js'

const MAX_ERRORS = 20
/** No Date is later: what fails then is tried again at once. */
const LAST_DATE_MS = 8.64e15

/** The clock, and what comes next by it: the order in which a worker with one slot takes its jobs. */
export class Timetable {
  #pending: Entry[] = []
  #position = 0

  /** now: milliseconds since the epoch. It moves only when this is asked for what is later. */
  constructor(public now: number) {}

  add(entry: Entry, executeAt: number): void {
    this.#pending.push(entry)
    this.#place(entry, executeAt)
  }

  /** Gives a job that waits another time. One that may run already, and still may, keeps its place. */
  move(entry: Entry, executeAt: number): void {
    if (entry.job.executeAt === null && executeAt <= this.now) return
    entry.readyAt = this.now
    this.#place(entry, executeAt)
  }

  /** Takes jobs out, as if they had never been enqueued. */
  remove(entries: ReadonlySet<Entry>): void {
    this.#pending = this.#pending.filter((entry) => !entries.has(entry))
  }

  /** The next job that may run until then; the clock moves to its time. */
  next(until: number, mayRun: (entry: Entry) => boolean): Entry | undefined {
    const candidates = this.#pending.filter(({ job }) => job.state !== 'running').filter(mayRun)
    if (candidates.length === 0) return undefined
    const first = Math.min(...candidates.map(({ job }) => job.executeAt?.getTime() ?? this.now))
    if (first > until) return undefined
    this.now = Math.max(this.now, first)
    this.#promoteDue()
    const ready = candidates.filter(({ job }) => job.state === 'waiting')
    return ready.sort((a, b) => b.job.priority - a.job.priority || a.position - b.position)[0]
  }

  /** A job of this kind that could run now. */
  findReady(which: (entry: Entry) => boolean): Entry | undefined {
    this.#promoteDue()
    return this.#pending.find((entry) => entry.job.state === 'waiting' && which(entry))
  }

  /** Does with the job what the settlement says. */
  settle(entry: Entry, settlement: Settlement): void {
    const { job } = entry
    if ('error' in settlement && settlement.error) job.errors = [...job.errors, settlement.error].slice(-MAX_ERRORS)
    if (settlement.kind === 'requeue') {
      job.attempts = settlement.attempt
      entry.readyAt = this.now
      this.#place(entry, this.now + settlement.delayMs)
      return
    }
    job.state = settlement.kind === 'bury' ? 'dead' : 'completed'
    job.reason = settlement.kind === 'bury' ? settlement.reason : null
    this.remove(new Set([entry]))
  }

  #place(entry: Entry, executeAt: number): void {
    const { job } = entry
    const at = Math.min(executeAt, LAST_DATE_MS)
    job.state = at > this.now ? 'scheduled' : 'waiting'
    job.executeAt = at > this.now ? new Date(at) : null
    entry.position = ++this.#position
  }

  /** Due jobs become ready in the order of their times, behind those that are. */
  #promoteDue(): void {
    const due = this.#pending.filter(({ job }) => job.executeAt !== null && job.executeAt.getTime() <= this.now)
    due.sort((a, b) => a.job.executeAt!.getTime() - b.job.executeAt!.getTime() || a.position - b.position)
    for (const entry of due) {
      entry.readyAt = entry.job.executeAt!.getTime()
      this.#place(entry, this.now)
    }
  }
}
