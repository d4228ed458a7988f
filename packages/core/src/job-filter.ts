import { type RawBuilder, sql } from 'kysely'
import type { DeadReason, JobState } from './database.js'
import { InvalidOptionError } from './errors.js'
import { isUnsettled } from './finish.js'
import { shown } from './option-names.js'
import type { StatementParts } from './statement.js'

/** Which jobs: all that fit every condition given. At least one is needed, so that no call means "all" by mistake. */
export interface JobFilter {
  readonly ids?: readonly string[]
  readonly queue?: string
  readonly task?: string
  /** The unique job of this key, which is one of the task's: name that, too. Of dead letters all that had it. */
  readonly key?: string
}

/** Jobs that wait: ready ones, scheduled ones (delayed, or before their next attempt), and parked ones (for others of their concurrency key). */
export interface WaitingJobFilter extends JobFilter {
  readonly state?: 'ready' | 'scheduled' | 'parked'
}

/** Jobs that wait or run. */
export interface UnfinishedJobFilter extends JobFilter {
  readonly state?: 'ready' | 'scheduled' | 'parked' | 'running'
}

/** Dead letters. */
export interface DeadJobFilter extends JobFilter {
  readonly reason?: DeadReason
  /** The last error, written as "name: message", contains this text, in upper or lower case. */
  readonly error?: string
}

/** The filter of each kind of jobs. */
export interface JobFilters {
  readonly waiting: WaitingJobFilter
  readonly unfinished: UnfinishedJobFilter
  readonly dead: DeadJobFilter
}

/** A filter as it travels: texts alone, which every client can send. */
export interface FilterParams {
  readonly ids: string | null
  readonly queue: string | null
  readonly task: string | null
  readonly key: string | null
  readonly states: string
  readonly reason: string | null
  readonly error: string | null
  readonly limit: number
  readonly asOf: string | null
}

type State = Exclude<JobState, 'dead'>

const STATES: Record<keyof JobFilters, readonly State[]> = {
  waiting: ['ready', 'scheduled', 'parked'],
  unfinished: ['ready', 'scheduled', 'parked', 'running'],
  dead: [],
}
const REASONS: readonly DeadReason[] = ['exhausted', 'failed', 'cancelled', 'crashed']

/** Checks a filter. A condition that its kind does not have is refused: passed over, it would let the call hit more jobs. */
export function filterParams<Kind extends keyof JobFilters>(
  kind: Kind,
  filter: JobFilters[Kind],
  limit: number,
  maxLimit: number,
  asOf: string | undefined,
): FilterParams {
  const kinds = Object.keys(STATES)
  if (!kinds.includes(kind)) throw new InvalidOptionError(`${shown(kind)} is no kind of jobs: use ${kinds.join(', ')}.`)
  const conditions = Object.entries(filter ?? {}).filter(([, value]) => value !== undefined)
  const known = ['ids', 'queue', 'task', 'key', ...(kind === 'dead' ? ['reason', 'error'] : ['state'])]
  const unknown = conditions.find(([name]) => !known.includes(name))
  if (unknown) {
    throw new InvalidOptionError(`There is no condition ${JSON.stringify(unknown[0])} here: use ${known.join(', ')}.`)
  }
  if (conditions.length === 0) throw new InvalidOptionError(`Name the jobs: give at least one of ${known.join(', ')}.`)
  if (!Number.isInteger(limit) || limit < 1 || limit > maxLimit) {
    throw new InvalidOptionError(`limit is ${shown(limit)}; use a whole number from 1 to ${maxLimit}.`)
  }
  if (asOf !== undefined && !isInstant(asOf)) {
    throw new InvalidOptionError(
      `asOf is ${shown(asOf)}; use an instant that databaseTime() answered, as "2030-01-02T03:04:05.678901Z".`,
    )
  }
  const { ids, queue, task, key, state, reason, error } = filter as UnfinishedJobFilter & DeadJobFilter
  for (const [name, text] of Object.entries({ queue, task, key, error })) checkText(name, text)
  if (key !== undefined && task === undefined) {
    throw new InvalidOptionError('A key is one of a task: give task beside key.')
  }
  checkOneOf('state', state, STATES[kind])
  checkOneOf('reason', reason, REASONS)
  return {
    ids: ids === undefined ? null : JSON.stringify(checkIds(ids)),
    queue: queue ?? null,
    task: task ?? null,
    key: key ?? null,
    states: state ?? STATES[kind].join(),
    reason: reason ?? null,
    error: error ?? null,
    limit,
    asOf: asOf ?? null,
  }
}

const isInstant = (text: unknown): boolean =>
  typeof text === 'string' && /^\d{4}-\d\d-\d\dT.+(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(Date.parse(text))

function checkIds(ids: readonly string[]): readonly string[] {
  if (!Array.isArray(ids)) throw new InvalidOptionError("ids must be a list of job ids: ['1', '2'].")
  for (const id of ids) checkJobId(id)
  return ids
}

/** Job ids are bigints. */
export function checkJobId(id: string): string {
  if (typeof id === 'string' && /^\d{1,19}$/.test(id) && BigInt(id) < 2n ** 63n) return id
  throw new InvalidOptionError(`${shown(id)} is no job id: ids are digits in a string.`)
}

function checkText(name: string, text: string | undefined): void {
  if (text === undefined || (typeof text === 'string' && text !== '' && !text.includes('\0'))) return
  throw new InvalidOptionError(`${name} is ${JSON.stringify(text)}; use a text that is not empty.`)
}

function checkOneOf(name: string, value: string | undefined, values: readonly string[]): void {
  if (value === undefined || values.includes(value)) return
  throw new InvalidOptionError(`${name} is ${JSON.stringify(value)}; use ${values.join(', ')}.`)
}

type Parts = Pick<StatementParts<FilterParams>, 'table' | 'param'>

/** The ids of the filter. */
export const wantedIds = ({ param }: Parts): RawBuilder<unknown> =>
  sql`select json_array_elements_text(${param('ids')}::json)::bigint as id`

const idOfKey = ({ table, param }: Parts): RawBuilder<unknown> =>
  sql`select held.job_id from ${table('job_keys')} as held where held.task = ${param('task')} and held.key = ${param('key')}`

/** The condition of `asOf` on the instant at which a job came. */
export const wasThere = ({ param }: Parts, cameAt: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(${param('asOf')}::timestamptz is null or ${cameAt} <= ${param('asOf')}::timestamptz)`

const hasKey = (parts: Parts, alias: string): RawBuilder<unknown> =>
  sql`${sql.ref(`${alias}.id`)} = any (array(${idOfKey(parts)}))`

const matches = (
  parts: Parts,
  alias: string,
  cameAt = 'created_at',
  keyFits = hasKey(parts, alias),
): RawBuilder<unknown> => {
  const { param } = parts
  return sql`
    (${param('ids')}::text is null or ${sql.ref(`${alias}.id`)} = any (array(${wantedIds(parts)})))
    and (${param('queue')}::text is null or ${sql.ref(`${alias}.queue`)} = ${param('queue')})
    and (${param('task')}::text is null or ${sql.ref(`${alias}.task`)} = ${param('task')})
    and (${param('key')}::text is null or ${keyFits})
    and ${wasThere(parts, sql.ref(`${alias}.${cameAt}`))}`
}

const stateFits = ({ param }: Parts, state: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`${state} = any (string_to_array(${param('states')}::text, ','))`

/** The state of a row of jobs, by the name job. */
export const waitingState = sql<Exclude<State, 'running'>>`
  case when job.execute_at is null then 'ready' when job.execute_at = 'infinity' then 'parked' else 'scheduled' end`

/** The condition on a row of jobs, by the name job. None of them runs: then no row is read. */
export const fitsWaiting = (parts: Parts): RawBuilder<unknown> => sql`
  ${parts.param('states')}::text <> 'running' and ${matches(parts, 'job')} and ${stateFits(parts, waitingState)}`

/** The jobs in leases that the filter hits, as rows of their ids. */
export const selectLeased = (parts: Parts): RawBuilder<unknown> => sql`
  select running.id
  from ${parts.table('leases')} as lease
  cross join lateral unnest(lease.ids, lease.queues, lease.tasks, lease.created_ats)
    with ordinality as running (id, queue, task, created_at, ordinal)
  where ${matches(parts, 'running')} and ${stateFits(parts, sql`'running'`)}
    and ${isUnsettled(parts, sql`running.ordinal`)}`

/** The condition on a dead letter, by the name dead. */
export const fitsDead = (parts: Parts): RawBuilder<unknown> => {
  const { param } = parts
  const lastError = sql`lower(concat_ws(': ', dead.errors -> -1 ->> 'name', dead.errors -> -1 ->> 'message'))`
  // They have it no more: its row names another job by now, or is gone.
  const hadKey = sql`dead.meta ->> 'key' = ${param('key')}`
  return sql`
    ${matches(parts, 'dead', 'died_at', hadKey)}
    and (${param('reason')}::text is null or dead.reason = ${param('reason')})
    and (${param('error')}::text is null or strpos(${lastError}, lower(${param('error')})) > 0)`
}
