import { MigrationError } from './migration-error.js'

const defaultSchema = 'pgq'

// Narrower than Postgres: a name that needs no thought about case or escapes, and leaves room in 63 bytes for channel names.
const allowedName = /^[a-z_][a-z0-9_]{0,47}$/
const reservedName = /^(pg_|information_schema$)/

/**
 * The schema that a call is about. Throws `PGQ_OPTION` for an option that does not exist: with a misspelt one passed over, the call
 * would change, or drop, the schema `pgq`.
 */
export function schemaOf<Options extends { readonly schema?: string }>(
  options: Options,
  known: Readonly<Record<keyof Options, true>>,
): string {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(known, name))
  if (unknown === undefined) return checkSchemaName(options.schema)
  throw new MigrationError('PGQ_OPTION', `Unknown option ${unknown}. The options are ${Object.keys(known).join(', ')}.`)
}

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
