import pg, { type Client } from 'pg'
import { MigrationError, reasonOf } from './migration-error.js'
import { withCleanup } from './with-cleanup.js'

const connectTimeoutMs = 30_000

/** Hands `work` one dedicated connection: an own one for a string, which is closed afterwards, or the given client. */
export async function withClient<T>(connection: Client | string, work: (client: Client) => Promise<T>): Promise<T> {
  if (typeof connection !== 'string') {
    refuseClient(connection)
    return withErrorsHeard(connection, () => work(connection))
  }
  const client = newClient(connection)
  client.on('error', ignore)
  return withConnected(client, () => work(client))
}

// The lock and the search path belong to a session, so every statement has to go through the same one.
function refuseClient(client: Client): void {
  if (client === undefined || client === null) {
    throw new MigrationError(
      'PGQ_CLIENT',
      `The connection string is ${client}: pass postgres://user:password@host:5432/database. Is the environment variable that holds it set?`,
    )
  }
  if (typeof client?.query !== 'function' || 'totalCount' in client) {
    throw new MigrationError(
      'PGQ_CLIENT',
      'Migrations need a connected pg.Client of their own, or a connection string; a Pool spreads the statements over connections.',
    )
  }
  // From pg 8.21 on; an older one is not asked, and must be connected and outside of a transaction on the caller's word.
  const status = client.getTransactionStatus?.()
  if (status === null) {
    throw new MigrationError(
      'PGQ_CLIENT',
      'This pg.Client is not connected: await client.connect() first. (A client of pg.native looks the same: pass a connection string.)',
    )
  }
  if (status === 'T' || status === 'E') {
    throw new MigrationError(
      'PGQ_IN_TRANSACTION',
      'This client has a transaction open, and migrations commit their own. Commit it first, or pass another client.',
    )
  }
}

// A backend that dies also makes its client emit "error", which ends the process when nobody listens. The statement that
// was under way fails too, and that is the report.
async function withErrorsHeard<T>(client: Client, work: () => Promise<T>): Promise<T> {
  client.on('error', ignore)
  return withCleanup(work, async () => {
    client.off('error', ignore)
  })
}

function ignore(): void {}

function newClient(connectionString: string): Client {
  try {
    return new pg.Client({
      connectionString,
      connectionTimeoutMillis: connectTimeoutMs,
      application_name: 'pgq-migrations',
    })
  } catch (cause) {
    throw new MigrationError(
      'PGQ_CONNECTION',
      `This connection string cannot be read: write postgres://user:password@host:5432/database. ${reasonOf(cause)}`,
      { cause },
    )
  }
}

async function withConnected<T>(client: Client, work: () => Promise<T>): Promise<T> {
  try {
    await client.connect()
  } catch (cause) {
    throw new MigrationError(
      'PGQ_CONNECTION',
      `Cannot connect to PostgreSQL at ${client.host}:${client.port}: ${reasonOf(cause)}. Nothing was changed. Check the connection string, and that the server runs.`,
      { cause },
    )
  }
  return withCleanup(work, () => client.end())
}
