import { InvalidOptionError, type JobError, optionNames, type RawBuilder, shown, sql } from '@pgq/core'
import { dateOf, type EpochMs, epochMs, filterParams, type KeyedJobsFilter } from './question.js'

/** Which jobs to list, and how many. */
export interface ListRequest extends KeyedJobsFilter {
  /** At most this many jobs: 1 to 10,000. Default 100. */
  readonly limit?: number
  /** Only jobs whose args, written as JSON, contain this text, in upper or lower case. */
  readonly argsText?: string
  /** Answers the args as well. They may be large, and may hold what not everybody should see. Default false. */
  readonly withArgs?: boolean
}

export const LIST_OPTIONS = optionNames<ListRequest>({
  queue: true,
  task: true,
  key: true,
  limit: true,
  argsText: true,
  withArgs: true,
})

/** The same, page by page. */
export interface PageRequest extends ListRequest {
  /** Where to go on: `next` of the page before. */
  readonly after?: string
}

export const PAGE_OPTIONS = optionNames<PageRequest>({
  queue: true,
  task: true,
  key: true,
  limit: true,
  argsText: true,
  withArgs: true,
  after: true,
})

/** A part of a list. Jobs that come or go between two pages move no others: none is seen twice or left out. */
export interface Page<Job> {
  readonly jobs: readonly Job[]
  /** Pass it as `after` for the next page. Absent on the last one. */
  readonly next?: string
}

/** What is known of every job, wherever it is. */
export interface ListedJob {
  /** A bigint, as a string. */
  readonly id: string
  readonly queue: string
  readonly task: string
  readonly priority: number
  /** Handler runs so far, the one that runs now included. */
  readonly attempt: number
  /** Workers that were lost while they ran it. */
  readonly crashCount: number
  readonly createdAt: Date
  /** Only when asked for with `withArgs`. */
  readonly args?: unknown
}

/** A job as it travels. */
export interface ListedRow extends Omit<ListedJob, 'createdAt' | 'args'> {
  createdAt: EpochMs
  args: unknown
}

export const listedJob = (row: ListedRow, withArgs = false): ListedJob => ({
  id: row.id,
  queue: row.queue,
  task: row.task,
  priority: row.priority,
  attempt: row.attempt,
  crashCount: row.crashCount,
  createdAt: dateOf(row.createdAt),
  ...(withArgs && { args: row.args }),
})

/** The columns of ListedRow but for the args, of an alias that has the columns of jobs. */
export const listedColumns = (alias: 'job' | 'dead' | 'running' | 'held'): RawBuilder<unknown> => {
  const column = (name: string) => sql.ref(`${alias}.${name}`)
  return sql`
    ${column('id')}::text as id, ${column('queue')}, ${column('task')}, ${column('priority')}, ${column('attempt')},
    ${column('crash_count')} as "crashCount", ${epochMs(column('created_at'))} as "createdAt"`
}

/** What failed last, where something did. */
export const lastErrorOf = (error: unknown): { lastError?: JobError } => (isJobError(error) ? { lastError: error } : {})

/** All that failed. */
export const errorsOf = (errors: unknown): readonly JobError[] =>
  Array.isArray(errors) ? errors.filter(isJobError) : []

/** SQL may have written anything into that column, and may have left parts of an error out. What is no object is none. */
const isJobError = (error: unknown): error is JobError => typeof error === 'object' && error !== null

export function checkLimit(limit = 100): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= 10_000) return limit
  throw new InvalidOptionError(`limit is ${shown(limit)}; use a whole number from 1 to 10000.`)
}

/** A request as it travels. Whose args are looked at has to be allowed to read them. */
export const listParams = ({ argsText, withArgs = false, ...filter }: ListRequest) => ({
  ...filterParams(filter),
  argsText: argsText ?? null,
  withArgs: withArgs || argsText !== undefined,
})

/** The condition that args contain the text, where there is one. */
export const argsContain = (args: RawBuilder<unknown>, text: RawBuilder<string | null>): RawBuilder<unknown> =>
  sql`(${text}::text is null or strpos(lower(${args}::text), lower(${text})) > 0)`

/** The parts of a cursor that `pattern` captures; null for the first page. */
export function readCursor(after: string | undefined, pattern: RegExp): string[] | null {
  if (after === undefined) return null
  const found = pattern.exec(after)
  if (!found) throw new InvalidOptionError(`after is ${shown(after)}: pass the "next" of a page of this list.`)
  return found.slice(1)
}
