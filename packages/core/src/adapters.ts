import type { SqlClient } from './executor.js'

/** A Drizzle database or transaction on PostgreSQL, whatever its driver. */
export interface DrizzleLike {
  execute(query: any): PromiseLike<any>
}

/** A Prisma client, or the client that `$transaction` passes to its function. */
export interface PrismaLike {
  $queryRawUnsafe(sql: string, ...params: any[]): PromiseLike<any>
}

/** A Knex instance or transaction on PostgreSQL. */
export interface KnexLike {
  raw(sql: string, bindings: any): PromiseLike<any>
}

/** A `sql` of postgres.js, or the one that `sql.begin` passes to its function. */
export interface PostgresJsLike {
  unsafe(sql: string, params?: any[]): PromiseLike<any>
}

/** Lets pgq run its statements on a Drizzle database or transaction. The same one answers the same adapter. */
export const fromDrizzle = (db: DrizzleLike): SqlClient =>
  adapterOf(db, async (sql, params) => {
    try {
      // What db.execute() asks of an sql`...`: ours is written already, its parameters bound.
      return await db.execute({ getSQL: () => ({ toQuery: () => ({ sql, params }) }) })
    } catch (error) {
      // Drizzle's own error prints the parameters, so whole args, and hides PostgreSQL's code in its cause.
      throw (error as { cause?: { code?: unknown } } | null)?.cause?.code ? (error as Error).cause : error
    }
  })

/** Lets pgq run its statements on a Prisma client or transaction. The same one answers the same adapter. */
export const fromPrisma = (client: PrismaLike): SqlClient =>
  adapterOf(client, async (sql, params) => {
    try {
      return await client.$queryRawUnsafe(sql, ...params)
    } catch (error) {
      throw withPostgresCode(error)
    }
  })

/** Lets pgq run its statements on a Knex instance or transaction. The same one answers the same adapter. */
export const fromKnex = (knex: KnexLike): SqlClient =>
  adapterOf(knex, async (sql, params) => {
    const bindings: unknown[] = []
    // Knex numbers its ? by itself: each use of a $1 becomes one, and what is a ? already is kept by a backslash.
    const raw = sql.replace(/\?|\$(\d+)/g, (match, number) => {
      if (match === '?') return '\\?'
      bindings.push(params[number - 1])
      return '?'
    })
    return knex.raw(raw, bindings)
  })

/** Lets pgq run its statements on a `sql` of postgres.js, in a transaction or not. The same one answers the same adapter. */
export const fromPostgresJs = (sql: PostgresJsLike): SqlClient =>
  adapterOf(sql, async (text, params) => sql.unsafe(text, params))

const adapters = new WeakMap<object, SqlClient>()

// Calls in flight travel as one statement when their executor is one and the same object.
function adapterOf(client: object, query: SqlClient['query']): SqlClient {
  const adapter = adapters.get(client) ?? { query }
  adapters.set(client, adapter)
  return adapter
}

/** Prisma 7 has codes of its own and keeps PostgreSQL's code and message under meta. */
function withPostgresCode(error: unknown): unknown {
  const { originalCode: code, originalMessage } = (error as PrismaError | null)?.meta?.driverAdapterError?.cause ?? {}
  return code ? Object.assign(new Error(originalMessage, { cause: error }), { code }) : error
}

interface PrismaError {
  readonly meta?: {
    readonly driverAdapterError?: { readonly cause?: { originalCode?: string; originalMessage?: string } }
  }
}
