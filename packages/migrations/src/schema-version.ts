import type { ClientBase } from 'pg'
import { schemaOf } from './schema-name.js'
import { inspectSchema, versionOf } from './schema-state.js'

/** Options of schemaVersion. */
export interface SchemaVersionOptions {
  /** Where the queue lives, default `pgq`. */
  readonly schema?: string
}

/**
 * The version that the database has; 0 when it is not migrated. Compare with `latestVersion`.
 *
 * Only reads, so a Pool or a standby will do. Throws `PGQ_SCHEMA_NAME`, and what the database throws.
 */
export async function schemaVersion(
  client: Pick<ClientBase, 'query'>,
  options: SchemaVersionOptions = {},
): Promise<number> {
  return versionOf(await inspectSchema(client, schemaOf(options, { schema: true })))
}
