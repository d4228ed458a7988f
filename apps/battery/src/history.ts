import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What happened, as the processes saw it, in files outside the database. `at` is ms of the machine's monotonic clock, the
 * same for all processes.
 */
export type HistoryEvent = { readonly at: number; readonly pid: number } & (
  | { readonly kind: 'acknowledged'; readonly task: string; readonly n: number }
  | {
      readonly kind: 'started'
      readonly task: string
      readonly n: number
      readonly attempt: number
      readonly crashes: number
    }
  /** The handler returned, and meant success. */
  | { readonly kind: 'finished'; readonly task: string; readonly n: number }
  /** The handler ended otherwise. */
  | { readonly kind: 'failed'; readonly task: string; readonly n: number; readonly why: string }
  /** A process was sent kill -9: it does nothing after this instant. */
  | { readonly kind: 'killed'; readonly victim: number }
)

type Draft<Event> = Event extends unknown ? Omit<Event, 'at' | 'pid'> : never

export interface HistoryWriter {
  note(event: Draft<HistoryEvent>): void
  close(): void
}

/** Opens this process's own file. Each event is in the page cache when note() returns: kill -9 loses none. */
export function writeHistory(folder: string): HistoryWriter {
  mkdirSync(folder, { recursive: true })
  const file = openSync(join(folder, `${process.pid}-${Math.round(now())}.jsonl`), 'a')
  return {
    note: (event) => void writeSync(file, `${JSON.stringify({ at: now(), pid: process.pid, ...event })}\n`),
    close: () => closeSync(file),
  }
}

/** Everything that was noted, by all processes, in order. A last line that a kill cut short is left out. */
export function readHistory(folder: string): HistoryEvent[] {
  const lines = readdirSync(folder).flatMap((file) => readFileSync(join(folder, file), 'utf8').split('\n').slice(0, -1))
  return lines.map((line) => JSON.parse(line) as HistoryEvent).sort((a, b) => a.at - b.at)
}

/** The machine's monotonic clock, ms. */
export const now = (): number => Number(process.hrtime.bigint()) / 1e6
