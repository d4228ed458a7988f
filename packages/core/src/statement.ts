import {
  type CompiledQuery,
  DefaultQueryExecutor,
  PostgresAdapter,
  PostgresQueryCompiler,
  type QueryExecutorProvider,
  type RawBuilder,
  sql,
} from 'kysely'
import type { PgqDatabase } from './database.js'
import { type Executor, run } from './executor.js'
import { checkSchemaName } from './names.js'

/** A statement ready to be sent: text with $1, $2, ... and a name for those who prepare it. */
export interface CompiledStatement<Params> {
  readonly name: string
  readonly sql: string
  bind(params: Params): unknown[]
}

/** One SQL statement, written once, typed by its parameters and its rows, compiled once per schema. */
export interface Statement<Params, Row> {
  (executor: Executor, schema: string, params: Params): Promise<Row[]>
  compile(schema: string): CompiledStatement<Params>
}

/** What a statement is written with: the tables and routines of the schema, and its parameters, by name. */
export interface StatementParts<Params> {
  table(name: keyof PgqDatabase): RawBuilder<unknown>
  routine(
    name:
      | 'ring_doorbell'
      | 'enqueue'
      | 'insert_jobs'
      | 'insert_unique_jobs'
      | 'finish_job'
      | 'finished_ordinals'
      | 'refuse_jobs'
      | 'take_parked_jobs'
      | 'lock_concurrency_key'
      | 'concurrency_key'
      | 'concurrency_lock'
      | 'concurrency_max',
  ): RawBuilder<unknown>
  /** The schema's name as a text value. */
  readonly schemaName: RawBuilder<string>
  /** The next number in the order of ready jobs. */
  readonly nextPosition: RawBuilder<string>
  param<Name extends keyof Params & string>(name: Name): RawBuilder<Params[Name]>
}

/** A Kysely query: built with its builder, or written with its sql tag. */
interface Query<Row> {
  compile(provider: QueryExecutorProvider): CompiledQuery<Row>
}

const executor = new DefaultQueryExecutor(new PostgresQueryCompiler(), new PostgresAdapter(), {
  provideConnection: () => Promise.reject(new Error('Statements are only compiled here.')),
})
const compiler: QueryExecutorProvider = { getExecutor: () => executor }

/** Defines a statement. Parameters are numbered in the order of their first use; all values travel bound. */
export function defineStatement<Params extends object, Row>(
  name: string,
  write: (parts: StatementParts<Params>) => Query<Row>,
): Statement<Params, Row> {
  const compiled = new Map<string, CompiledStatement<Params>>()
  const compile = (schema: string): CompiledStatement<Params> => {
    checkSchemaName(schema)
    const names: (keyof Params & string)[] = []
    const query = write({
      table: (table) => sql.id(schema, table),
      routine: (routine) => sql.id(schema, routine),
      schemaName: sql`${sql.lit(schema)}`,
      nextPosition: sql`nextval(${sql.lit(`${schema}.job_positions`)}::regclass)`,
      param: (param) => {
        if (!names.includes(param)) names.push(param)
        return sql.raw(`$${names.indexOf(param) + 1}`)
      },
    })
    return {
      name: `${schema}.${name}`,
      sql: query.compile(compiler).sql,
      bind: (params) => names.map((param) => params[param]),
    }
  }
  const statement: Statement<Params, Row> = Object.assign(
    (executor: Executor, schema: string, params: Params) => run(executor, schema, statement, params),
    {
      compile(schema: string) {
        const known = compiled.get(schema) ?? compile(schema)
        compiled.set(schema, known)
        return known
      },
    },
  )
  return statement
}
