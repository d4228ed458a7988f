import { type Executor, type RawBuilder, type StatementParts, sql } from '@pgq/core'
import {
  argsContain,
  checkLimit,
  type ListedRow,
  listedColumns,
  listParams,
  type Page,
  type PageRequest,
  readCursor,
} from './page.js'
import { defineArgsQuestion, hasKey, type MonitorOptions } from './question.js'
import { queuesIn } from './queues-in.js'

/** How many jobs one page, or one count, looks at, shared by the queues: 10 to 20 ms. */
export const WALK = 25_000

/** Jobs in an order that an index has within each queue. All of it is written for a row named `job`. */
export interface WalkedOrder {
  readonly from: 'jobs' | 'dead_jobs'
  /** The condition of the index. */
  readonly where: RawBuilder<unknown>
  /** As the index has it, forwards or backwards; no two rows are equal. */
  readonly order: readonly RawBuilder<unknown>[]
  /** Which of them, where the index has others before or behind them; a list says so in `behind`. */
  readonly range?: RawBuilder<unknown>
  readonly direction?: 'asc' | 'desc'
}

/** A list of them. */
interface WalkedList extends WalkedOrder {
  /** What comes behind the cursor, as a range of the index. */
  readonly behind: RawBuilder<unknown>
  /** Where a page ends that ends with this row. */
  readonly cursor: RawBuilder<unknown>
  /** What the list tells beside ListedRow. */
  readonly columns: RawBuilder<unknown>
}

const OF_ALL = ['id', 'queue', 'task', 'priority', 'attempt', 'crash_count', 'created_at', 'errors']

/** What a list may need of a row. */
const COLUMNS = {
  jobs: [...OF_ALL, 'position', 'ready_at', 'execute_at', 'meta'],
  dead_jobs: [...OF_ALL, 'died_at', 'reason'],
}

interface WalkParams {
  readonly queue: string | null
  readonly task: string | null
  readonly key: string | null
  readonly argsText: string | null
  readonly limit: number
  readonly walk: number
}

interface WalkedRow extends ListedRow {
  cursor: string
  fits: boolean
  /** The last job that was looked at in a queue that has more. */
  isEnd: boolean
}

/** Asks for a page of a list. `cursor` has a value for each parameter of `behind`. */
export type AskPage<Cursor, Row> = <Job>(
  executor: Executor,
  options: MonitorOptions,
  request: PageRequest,
  cursor: Cursor,
  read: (row: Row & ListedRow) => Job,
) => Promise<Page<Job>>

/**
 * Defines a list that is asked page by page: at most `limit` rows of each queue, by an index, then the first of them all. Over all
 * queues at once it would sort every job. The row where a queue is left comes along, whether it fits or not.
 */
export function defineWalk<Cursor extends object, Row>(
  name: string,
  write: (parts: StatementParts<Cursor & WalkParams>) => WalkedList,
): AskPage<Cursor, Row> {
  const define = (isOfKey: boolean) =>
    defineArgsQuestion<Cursor & WalkParams, Row & WalkedRow>(isOfKey ? `${name}_of_key` : name, (parts, args) => {
      const { table, param } = parts
      const { from, where, behind, order, direction = 'asc', cursor, columns } = write(parts)
      const ordered = (keys: readonly RawBuilder<unknown>[]) => orderBy(keys, direction)
      const keys = order.map((_, n) => sql.ref(`key_${n}`))
      const limit = sql`${param('limit')}::integer`
      const share = sql`greatest(${param('walk')}::integer / (select count(*) from found), ${limit})`
      // By rows, or servers before 16 read one row more to see where a range of equal ones ends.
      return sql`
        with recursive ${queuesIn(table(from), where, param('queue'))}
        select
          ${listedColumns('job')}, ${columns}, ${cursor} as cursor, job.fits, job.place = ${share} as "isEnd", job.args
        from found
        cross join lateral (
          select job.*
          from (
            select
              ${sql.join(COLUMNS[from].map((column) => sql.ref(`job.${column}`)))}, ${args('job.args')} as args,
              ${sql.join(order.map((key, n) => sql`${key} as ${keys[n]!}`))},
              (${param('task')}::text is null or job.task = ${param('task')})
                and ${argsContain(args('job.args'), param('argsText'))}
                and ${isOfKey && from === 'dead_jobs' ? sql`job.meta ->> 'key' = ${param('key')}` : sql`true`} as fits,
              row_number() over (order by ${ordered(order)} rows unbounded preceding) as place
            from ${isOfKey && from === 'jobs' ? rowOfKey(parts, args) : table(from)} as job
            where job.queue = found.queue and ${where} and ${behind}
            order by ${ordered(order)}
            limit ${share}
          ) as job
          where job.fits or job.place = ${share}
          order by ${ordered(keys)}
          limit ${limit}
        ) as job
        order by ${ordered(keys)}
        limit ${limit}`
    })
  const [ask, askOfKey] = [define(false), define(true)]
  return async (executor, options, request, cursor, read) => {
    const size = checkLimit(request.limit)
    // One row more than asked for tells whether there is a next page.
    const walk = { ...listParams(request), limit: size + 1, walk: WALK }
    const rows = await (walk.key === null ? ask : askOfKey)(executor, options, { ...cursor, ...walk })
    const end = rows.findIndex(({ isEnd }) => isEnd)
    // Up to where the first queue was left: what others have behind that may come after what it has.
    const seen = (end < 0 ? rows : rows.slice(0, end + 1)).filter(({ fits }) => fits)
    const jobs = seen.slice(0, size).map(read)
    const next = seen.length > size ? seen[size - 1]!.cursor : rows[end]?.cursor
    return { jobs, ...(next !== undefined && { next }) }
  }
}

/** By its id before anything else: an index in the order of the list would be read to its end. */
const rowOfKey = (
  parts: StatementParts<WalkParams>,
  args: (column: string) => RawBuilder<unknown>,
): RawBuilder<unknown> => sql`(
  select ${sql.join(COLUMNS.jobs.map((column) => sql.ref(`job.${column}`)))}, ${args('job.args')} as args
  from ${parts.table('jobs')} as job
  where ${hasKey(parts, sql`job.id`)}
  offset 0
)`

export const orderBy = (keys: readonly RawBuilder<unknown>[], direction: 'asc' | 'desc' = 'asc'): RawBuilder<unknown> =>
  sql.join(keys.map((key) => sql`${key} ${sql.raw(direction)}`))

/** A place in a list that is ordered by an instant, then by id. */
export interface InstantCursor {
  readonly afterAt: string | null
  readonly afterId: string | null
}

/** An instant in microseconds, as PostgreSQL writes it in JSON, and an id. */
export const instantCursor = (instant: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(to_json(${instant}) #>> '{}') || ' ' || job.id`

export function readInstantCursor(after: string | undefined): InstantCursor {
  const [afterAt = null, afterId = null] =
    readCursor(after, /^(-?infinity|[-0-9T:.+]{10,40}(?: BC)?) (\d{1,19})$/) ?? []
  return { afterAt, afterId }
}
