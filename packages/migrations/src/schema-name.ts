import { MigrationError } from './migration-error.js'

export const defaultSchema = 'pgq'

// Narrower than Postgres: a name that needs no thought about case or escapes, and leaves room in 63 bytes for channel names.
const allowedName = /^[a-z_][a-z0-9_]{0,47}$/
const reservedName = /^(pg_|information_schema$)/

/** Answers the schema's name, safe to put between double quotes, or throws `PGQ_SCHEMA_NAME`. */
export function checkSchemaName(schema: unknown = defaultSchema): string {
  if (typeof schema !== 'string' || !allowedName.test(schema) || reservedName.test(schema)) {
    throw new MigrationError(
      'PGQ_SCHEMA_NAME',
      `${JSON.stringify(schema)} cannot be the queue's schema: use 1 to 48 of a-z, 0-9 and _, not starting with a digit or with pg_.`,
    )
  }
  return schema
}
