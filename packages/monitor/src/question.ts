import {
  checkOptionNames,
  DEFAULT_SCHEMA,
  defineStatement,
  type Executor,
  InvalidOptionError,
  optionNames,
  type RawBuilder,
  type StatementParts,
  sql,
} from '@pgq/core'

/** Where to ask. */
export interface MonitorOptions {
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
}

/** Which jobs; all of them when nothing is given. */
export interface JobsFilter {
  readonly queue?: string
  readonly task?: string
}

/** The same, or the unique job of a key. */
export interface KeyedJobsFilter extends JobsFilter {
  /** The key is one of the task's: name that, too. Of dead letters, all that had it. */
  readonly key?: string
}

const OPTIONS = optionNames<MonitorOptions>({ schema: true })

/** Refuses options that do not exist. Throws InvalidOptionError. */
export const checkOptions = (call: string, options: MonitorOptions): void => checkOptionNames(options, OPTIONS, call)

/** The same for what is asked: a filter that is misspelt would answer for all jobs. */
export function checkCall(call: string, request: object, known: ReadonlySet<string>, options: MonitorOptions): void {
  checkOptionNames(request, known, call)
  checkOptions(call, options)
}

/** One read-only statement, ready to be asked. */
export type Question<Params, Row> = (executor: Executor, options: MonitorOptions, params: Params) => Promise<Row[]>

/**
 * Defines a question. Each row travels as one JSON text, so that neither the client's type parsers nor a plugin that renames
 * columns can change it. The rows keep the order of the query.
 */
export function defineQuestion<Params extends object, Row>(
  name: string,
  write: (parts: StatementParts<Params>) => RawBuilder<unknown>,
): Question<Params, Row> {
  const statement = defineStatement<Params, { answer: string }>(
    name,
    (parts) => sql`select row_to_json(answer)::text as answer from (${write(parts)}) as answer`,
  )
  return async (executor, { schema = DEFAULT_SCHEMA }, params) =>
    (await statement(executor, schema, params)).map(({ answer }) => JSON.parse(answer) as Row)
}

/** A question that answers args to whoever asks for them. `args` writes a column of args, or what stands in its place. */
export type WriteWithArgs<Params> = (
  parts: StatementParts<Params>,
  args: (column: string) => RawBuilder<unknown>,
) => RawBuilder<unknown>

/** Two statements: PostgreSQL asks for the right to read every column that a statement names, whether it is read or not. */
export function defineArgsQuestion<Params extends object, Row>(
  name: string,
  write: WriteWithArgs<Params>,
): Question<Params & { readonly withArgs: boolean }, Row> {
  const withArgs = defineQuestion<Params, Row>(`${name}_with_args`, (parts) =>
    write(parts, (column) => sql.ref(column)),
  )
  const without = defineQuestion<Params, Row>(name, (parts) => write(parts, () => sql`null`))
  return (executor, options, params) => (params.withArgs ? withArgs : without)(executor, options, params)
}

/** An instant as it travels: ms since 1970; 'Infinity' is a text in JSON. */
export type EpochMs = number | 'Infinity' | '-Infinity'

/** Sends an instant, whatever the session's DateStyle and time zone. */
export const epochMs = (instant: RawBuilder<unknown>): RawBuilder<unknown> =>
  sql`(extract(epoch from ${instant}) * 1000)::double precision`

const LAST_DATE_MS = 8.64e15

/** Reads it. What a Date cannot hold (SQL may write 'infinity') becomes the first or the last Date there is. */
export const dateOf = (ms: EpochMs): Date => new Date(Math.max(-LAST_DATE_MS, Math.min(LAST_DATE_MS, Number(ms))))

/** The instant that the state of a row of jobs, by the name job, is told with: when a scheduled one is due, since when another one could run. */
export const waitingSince = sql`coalesce(nullif(job.execute_at, 'infinity'), job.ready_at)`

/** The filter as a condition on an alias that has the columns queue and task. */
export const matches = (
  alias: string,
  param: (name: 'queue' | 'task') => RawBuilder<string | null>,
): RawBuilder<unknown> => sql`
  (${param('queue')}::text is null or ${sql.ref(`${alias}.queue`)} = ${param('queue')})
  and (${param('task')}::text is null or ${sql.ref(`${alias}.task`)} = ${param('task')})`

/** A filter as it travels. Throws InvalidOptionError for a key without its task. */
export function filterParams({ queue, task, key }: KeyedJobsFilter) {
  if (key !== undefined && task === undefined) {
    throw new InvalidOptionError('A key is one of a task: give task beside key.')
  }
  return { queue: queue ?? null, task: task ?? null, key: key ?? null }
}

/** The condition that a job is the one that has the key, as core's functions find it. */
export const hasKey = (
  { table, param }: Pick<StatementParts<{ task: string | null; key: string | null }>, 'table' | 'param'>,
  id: RawBuilder<unknown>,
): RawBuilder<unknown> => sql`
  ${id} = any (array(
    select held.job_id from ${table('job_keys')} as held where held.task = ${param('task')} and held.key = ${param('key')}
  ))`
