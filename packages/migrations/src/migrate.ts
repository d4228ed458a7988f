import type { Client } from 'pg'
import { migrate as applyMigrations } from 'postgres-migrations'
import { checkHistory } from './check-history.js'
import { labelOf, loadMigrations, sqlFolder } from './migration-files.js'
import { inMigrationSession } from './migration-session.js'
import { schemaOf } from './schema-name.js'
import { inspectSchema } from './schema-state.js'
import { enterSchema } from './search-path.js'

/** Options of migrate. */
export interface MigrateOptions {
  /** Where the queue lives: `^[a-z_][a-z0-9_]{0,47}$`, default `pgq`. */
  readonly schema?: string
}

/** What migrate did. */
export interface MigrateResult {
  readonly schema: string
  /** The version found; 0 when there was none. */
  readonly from: number
  /** The version now. */
  readonly to: number
  /** What this call applied, such as `1_queue`; empty when the schema was up to date. */
  readonly applied: readonly string[]
}

/**
 * Brings the queue's schema to this package's version, creating it when missing.
 *
 * Takes one connection: a connected `pg.Client` with no transaction open, or a connection string. Any number of processes
 * may call it at once: one applies, the others wait and find nothing to do.
 *
 * Throws {@link MigrationError}; all refusals come before anything is changed. After a crash the finished steps are kept
 * and the unfinished one is not there: call it again.
 */
export async function migrate(connection: Client | string, options: MigrateOptions = {}): Promise<MigrateResult> {
  const schema = schemaOf(options, { schema: true })
  const migrations = await loadMigrations()
  const to = migrations.length - 1
  return inMigrationSession(connection, schema, async (client) => {
    const state = await inspectSchema(client, schema)
    const from = checkHistory(schema, state, migrations)
    if (from === to) return { schema, from, to, applied: [] }

    // Asked for only when missing: even "if not exists" needs the right to create schemas in the database.
    if (!state.exists) await client.query(`create schema if not exists "${schema}"`)
    await enterSchema(client, schema)
    // postgres-migrations takes a migrations table in any schema for its own; so ours has to be there before it looks.
    if (!state.hasHistory) await client.query(migrations[0].sql)
    await applyMigrations({ client }, sqlFolder)
    return { schema, from, to, applied: migrations.slice(from + 1).map(labelOf) }
  })
}
