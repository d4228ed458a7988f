import type { Client } from 'pg'
import { MigrationError } from './migration-error.js'

// "begin atomic" function bodies came with 14.
const oldestVersion = 140_000

export interface ServerFacts {
  /** As in server_version_num: 180004 is 18.4. */
  readonly version: number
  readonly standby: boolean
}

/** Throws when this server cannot be migrated; nothing was changed. */
export async function refuseServer(client: Client): Promise<void> {
  const { rows } = await client.query<ServerFacts>(`
    select pg_catalog.current_setting('server_version_num')::integer as version, pg_catalog.pg_is_in_recovery() as standby`)
  for (const facts of rows) checkServer(facts)
}

export function checkServer({ version, standby }: ServerFacts): void {
  if (version < oldestVersion) {
    throw new MigrationError(
      'PGQ_POSTGRES_TOO_OLD',
      `This is PostgreSQL ${Math.floor(version / 10_000)}, and the queue needs 14 or newer. Upgrade the server.`,
    )
  }
  if (standby) {
    throw new MigrationError(
      'PGQ_STANDBY',
      'This server is a standby and cannot be written to. Connect to the primary and migrate there.',
    )
  }
}
