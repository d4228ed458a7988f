import { CompiledQuery } from 'kysely'
import { InvalidOptionError, NotMigratedError } from './errors.js'
import type { Statement } from './statement.js'

/** Anything that runs SQL with $1, $2, ... parameters and answers the rows, alone or as `{ rows }`: a pg Pool or Client. */
export interface SqlClient {
  query(sql: string, params: any[]): PromiseLike<{ rows: any[] } | any[]>
}

/** A connection that may keep prepared statements, by name. */
export interface PreparingClient {
  queryPrepared(name: string, sql: string, params: unknown[]): Promise<{ rows: any[] }>
}

/** A Kysely instance or transaction. Not its own type: that of its ESM build and that of its CJS build do not go together. */
export interface KyselyLike {
  executeQuery(query: any): PromiseLike<{ rows: any[] }>
}

/**
 * Where a statement runs: a Kysely instance or transaction, a pg Pool, Client or PoolClient, an adapter, or any object with
 * query(sql, params). Pass the transaction to be part of it.
 */
export type Executor = KyselyLike | SqlClient | PreparingClient

/** Runs one statement. Database errors pass through as they are, except that missing tables become NotMigratedError. */
export async function run<Params extends object, Row>(
  executor: Executor,
  schema: string,
  statement: Statement<Params, Row>,
  params: Params,
): Promise<Row[]> {
  const { name, sql, bind } = statement.compile(schema)
  try {
    const result = await send(executor, name, sql, bind(params))
    return (Array.isArray(result) ? result : result.rows) as Row[]
  } catch (error) {
    if (isMissingObject(error)) throw new NotMigratedError(schema, error)
    throw error
  }
}

function send(executor: Executor, name: string, sql: string, params: unknown[]) {
  checkExecutor(executor)
  if ('queryPrepared' in executor) return executor.queryPrepared(name, sql, params)
  if ('executeQuery' in executor) return executor.executeQuery(CompiledQuery.raw(sql, params))
  return executor.query(sql, params)
}

/** Throws InvalidOptionError when this is nothing that runs SQL. */
export function checkExecutor(executor: Executor, what = 'The first argument'): void {
  const methods: Record<string, unknown> | null | undefined = executor as any
  if (['queryPrepared', 'executeQuery', 'query'].some((name) => typeof methods?.[name] === 'function')) return
  const [client, adapter] = ADAPTERS.find(([, , mark]) => typeof methods?.[mark] === 'function') ?? []
  throw new InvalidOptionError(
    client
      ? `${what} is of ${client}: pass ${adapter}, from @pgq/core/adapters.`
      : `${what} must be what runs the SQL: a Kysely instance or transaction, a pg Pool or Client, an adapter, or an object with query(sql, params).`,
  )
}

/** Clients that have adapters, and a function that each of them has. */
const ADAPTERS = [
  ['Prisma', 'fromPrisma(prisma)', '$queryRawUnsafe'],
  ['Knex', 'fromKnex(knex)', 'raw'],
  ['postgres.js', 'fromPostgresJs(sql)', 'unsafe'],
  ['Drizzle', 'fromDrizzle(db)', 'execute'],
] as const

/** The SQLSTATE of an error of the database; undefined of any other, such as Node's EPIPE. */
export function sqlStateOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) && !/^E[A-Z]+$/.test(code) ? code : undefined
}

// undefined_table, undefined_column, undefined_function, invalid_schema_name
const MISSING = new Set(['42P01', '42703', '42883', '3F000'])

const isMissingObject = (error: unknown): boolean => MISSING.has(sqlStateOf(error) ?? '')
