import type { Client } from 'pg'
import { checkHistory } from './check-history.js'
import { MigrationError } from './migration-error.js'
import { labelOf, loadMigrations, type Migration, readDownSql } from './migration-files.js'
import { inMigrationSession } from './migration-session.js'
import { schemaOf } from './schema-name.js'
import { inspectSchema } from './schema-state.js'
import { enterSchema } from './search-path.js'

/** Options of migrateDown. */
export interface MigrateDownOptions {
  /** Where the queue lives, default `pgq`. */
  readonly schema?: string
  /** The version to go to, default one below the present one. 0 drops everything, jobs and schema included. */
  readonly to?: number
}

/** What migrateDown did. */
export interface MigrateDownResult {
  readonly schema: string
  /** The version found; 0 when there was none. */
  readonly from: number
  /** The version now. */
  readonly to: number
  /** What this call undid, newest first, such as `1_queue`. */
  readonly reverted: readonly string[]
}

/**
 * Takes the queue's schema back to an older version, one transaction per step. **What the undone steps stored is lost.**
 *
 * Nothing cascades: `PGQ_FOREIGN_OBJECTS` when objects of somebody else's stand in the schema that is to go, or depend on
 * what is to go. Triggers, indexes and policies on the queue's own tables go with their tables.
 *
 * Takes the same connections, and throws like {@link migrate}. After a crash the finished steps are kept: call it again.
 */
export async function migrateDown(
  connection: Client | string,
  options: MigrateDownOptions = {},
): Promise<MigrateDownResult> {
  const schema = schemaOf(options, { schema: true, to: true })
  const migrations = await loadMigrations()
  return inMigrationSession(connection, schema, async (client) => {
    const state = await inspectSchema(client, schema)
    const from = checkHistory(schema, state, migrations)
    const to = checkTarget(schema, from, options.to)
    const steps = migrations.slice(to + 1, from + 1).reverse()

    await enterSchema(client, schema)
    for (const migration of steps) await revert(client, schema, migration)
    // What a migrate() that was stopped early has left.
    if (from === 0 && state.hasHistory) await inTransaction(client, schema, () => dropSchema(client, schema))
    return { schema, from, to, reverted: steps.map(labelOf) }
  })
}

function checkTarget(schema: string, from: number, to: number = Math.max(from - 1, 0)): number {
  if (Number.isInteger(to) && to >= 0 && to <= from) return to
  throw new MigrationError(
    'PGQ_TARGET_VERSION',
    `Schema "${schema}" is at version ${from} and cannot go down to ${to}. Nothing was changed. Name a version from 0 to ${from}.`,
  )
}

async function revert(client: Client, schema: string, migration: Migration): Promise<void> {
  const downSql = await readDownSql(migration)
  await inTransaction(client, schema, async () => {
    await client.query(downSql)
    await client.query('delete from migrations where id = $1', [migration.id])
    // In the same transaction as the last step: when the schema cannot go, its jobs stay.
    if (migration.id === 1) await dropSchema(client, schema)
  })
}

async function dropSchema(client: Client, schema: string): Promise<void> {
  await client.query('drop table migrations')
  await client.query(`drop schema "${schema}" restrict`)
}

async function inTransaction(client: Client, schema: string, work: () => Promise<void>): Promise<void> {
  await client.query('begin')
  try {
    await work()
    await client.query('commit')
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    throw isDependencyError(error) ? foreignObjects(schema, error) : error
  }
}

interface DependencyError extends Error {
  readonly detail?: string
}

function isDependencyError(error: unknown): error is DependencyError {
  return error instanceof Error && 'code' in error && error.code === '2BP01'
}

function foreignObjects(schema: string, error: DependencyError): MigrationError {
  return new MigrationError(
    'PGQ_FOREIGN_OBJECTS',
    `Cannot go down in schema "${schema}": ${error.message}${error.detail === undefined ? '' : ` (${error.detail})`}. ` +
      "They are not the queue's, so they are not dropped, and this step is undone. Drop or move them, then try again.",
    { cause: error },
  )
}
