import type { Client } from 'pg'
import { withClient } from './connection.js'
import { withLock } from './lock.js'
import { MigrationError, reasonOf } from './migration-error.js'
import { withSearchPath } from './search-path.js'
import { refuseServer } from './server.js'

/**
 * Runs `work` on one connection, alone among all that migrate this schema, and leaves a given client as it was: the
 * search path is back and the lock released, whether `work` succeeded or not.
 */
export async function inMigrationSession<T>(
  connection: Client | string,
  schema: string,
  work: (client: Client) => Promise<T>,
): Promise<T> {
  try {
    return await withClient(connection, async (client) => {
      await refuseServer(client)
      return await withSearchPath(client, () => withLock(client, schema, () => work(client)))
    })
  } catch (cause) {
    if (cause instanceof MigrationError) throw cause
    throw new MigrationError(
      'PGQ_MIGRATION_FAILED',
      `Migrating schema "${schema}" failed: ${reasonOf(cause)}. Steps that finished before are kept, and the failed one is ` +
        'undone: mend the cause and migrate again.',
      { cause },
    )
  }
}
