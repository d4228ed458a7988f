import { NotMigratedError } from '@pgq/core'
import { latestVersion, schemaVersion } from '@pgq/migrations'
import pg from 'pg'
import { Failure, UsageError } from './failure.js'
import { note } from './output.js'

/** Where the queue is, as the command line says it. */
export interface DatabaseOptions {
  readonly databaseUrl?: string
  readonly schema?: string
}

/** A connection of the command's own. */
export interface Session {
  readonly client: pg.Client
  readonly schema: string
}

const CONNECT_MS = 10_000
/** Of questions: what takes longer is part of the trouble that one looks for. */
const ANSWER_MS = 10_000

const PG_VARIABLES = ['PGHOST', 'PGPORT', 'PGDATABASE', 'PGUSER']

/** The connection string. What it leaves open, pg takes from the PG* variables; all of it, when only these are set. */
export function databaseUrl({ databaseUrl }: DatabaseOptions): string {
  const url = databaseUrl || process.env.DATABASE_URL
  if (url) return checkUrl(url)
  if (PG_VARIABLES.some((name) => process.env[name])) return 'postgresql:///'
  throw new UsageError(
    'Which database? Set DATABASE_URL to postgres://user:password@host:5432/database, or set PGHOST, PGDATABASE and so on, or give --database-url.',
  )
}

/** pg takes `shop` for a path on a host of its own making, and says that there is no such host. */
function checkUrl(url: string): string {
  // What libpq takes beside a URL: a folder with a socket.
  if (/^(postgres(ql)?|socket):|^\//.test(url)) return url
  // Never the string itself: it may hold a password.
  throw new UsageError(
    'The database is no connection string: write postgres://user:password@host:5432/database, in DATABASE_URL or --database-url.',
  )
}

export const schemaOf = ({ schema }: DatabaseOptions): string => schema ?? (process.env.PGQ_SCHEMA || 'pgq')

/**
 * Connects, sees that pgq is there, does the work, and closes. Answers are waited for by us, not by the server: a pooler refuses its
 * statement_timeout, or keeps it for others.
 */
export async function withQueue<T>(
  options: DatabaseOptions,
  work: (session: Session) => Promise<T>,
  answerMs = ANSWER_MS,
): Promise<T> {
  return withClient({ connectionString: databaseUrl(options), query_timeout: answerMs }, async (client) => {
    const schema = schemaOf(options)
    await checkSchema(client, schema)
    return work({ client, schema })
  })
}

/** Connects, does the work, and closes. Throws Failure when there is no connection, with what to do. */
export async function withClient<T>(config: pg.ClientConfig, work: (client: pg.Client) => Promise<T>): Promise<T> {
  const client = await connect({ connectionTimeoutMillis: CONNECT_MS, application_name: 'pgq', ...config })
  try {
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

async function connect(config: pg.ClientConfig): Promise<pg.Client> {
  let client: pg.Client
  try {
    client = new pg.Client(config)
  } catch (error) {
    // Never the string itself: it may hold a password.
    throw new UsageError(
      `The connection string cannot be read: write postgres://user:password@host:5432/database, with % codes for special characters. ${(error as Error).message}`,
    )
  }
  // The statement that was under way says so too.
  client.on('error', () => {})
  try {
    await client.connect()
  } catch (error) {
    void client.end().catch(() => {})
    throw new Failure(refusalOf(error, client), { cause: error })
  }
  return client
}

interface DatabaseError {
  readonly code?: string
  readonly message: string
}

/** Why there is no connection, and what to do. */
function refusalOf(error: unknown, { host, port, user, database }: pg.Client): string {
  const { code, message } = error as DatabaseError
  const where = `${host}:${port}`
  if (code === '28P01' || message.startsWith('SASL: '))
    return `The server at ${where} does not accept the password of "${user}": check it in DATABASE_URL, or in PGPASSWORD.`
  if (code === '28000')
    return `The server at ${where} does not let "${user}" in: ${message}. Check the user, and pg_hba.conf on the server.`
  if (code === '3D000')
    return `There is no database "${database}" at ${where}: check the name in DATABASE_URL, or create it (createdb ${database}).`
  if (code === '53300')
    return `The server at ${where} has no connection left: ${message}. End some, or raise max_connections.`
  if (code === '57P03') return `The server at ${where} is starting up or shutting down: ${message}. Try again.`
  // Of a name with several addresses, Node says the reason of each and nothing itself.
  const reason = message || (error as AggregateError).errors?.[0]?.message || code
  return `No PostgreSQL answers at ${where}: ${reason}. Is it running, and is that the right address? Check DATABASE_URL, PGHOST and PGPORT.`
}

/** Throws Failure when the schema is missing or too old; a newer one is only told: the version before works with it. */
export async function checkSchema(client: pg.Client, schema: string): Promise<void> {
  const version = await versionOf(client, schema)
  if (version === undefined) return
  const flag = schema === 'pgq' ? '' : ` --schema ${schema}`
  if (version === 0)
    throw new Failure(
      `There is no pgq in schema "${schema}" of database "${client.database}". Run: pgq migrate${flag}. Or name the schema that it is in: --schema.`,
      { cause: new NotMigratedError(schema, undefined) },
    )
  if (version < latestVersion)
    throw new Failure(
      `Schema "${schema}" is at version ${version}, and this pgq needs version ${latestVersion}. Run: pgq migrate${flag}.`,
      { cause: new NotMigratedError(schema, undefined) },
    )
  if (version > latestVersion)
    note(
      `Schema "${schema}" is at version ${version}, and this pgq knows versions up to ${latestVersion}: upgrade @pgq/cli.`,
    )
}

/** Undefined when this role may not know; what it may do will show. */
async function versionOf(client: pg.Client, schema: string): Promise<number | undefined> {
  try {
    return await schemaVersion(client, { schema })
  } catch (error) {
    if ((error as DatabaseError).code === '42501') return undefined
    throw error
  }
}
