/** The codes of all errors that this package throws; stable, so that callers can branch on them. */
export type MigrationErrorCode =
  | 'PGQ_CLIENT' // a Pool, an unconnected client, or no client at all
  | 'PGQ_CONNECTION' // the connection string leads nowhere
  | 'PGQ_FOREIGN_OBJECTS' // going down would drop somebody else's objects
  | 'PGQ_FOREIGN_SCHEMA' // the schema is somebody else's
  | 'PGQ_IN_TRANSACTION' // the client has a transaction open
  | 'PGQ_MIGRATION_CHANGED' // the database has run another text of a migration than this package has
  | 'PGQ_MIGRATION_FAILED' // the database said no; its reason is in the message, and the cause
  | 'PGQ_OPTION' // an option that does not exist
  | 'PGQ_POSTGRES_TOO_OLD'
  | 'PGQ_SCHEMA_NAME'
  | 'PGQ_SCHEMA_TOO_NEW' // a newer version of this package was here
  | 'PGQ_SQL_FILES' // the package's sql folder cannot be read
  | 'PGQ_STANDBY'
  | 'PGQ_TARGET_VERSION' // a version that cannot be reached from here

/** What every function of this package throws: `code` for programs, `message` says what is wrong and what to do. */
export class MigrationError extends Error {
  override readonly name = 'MigrationError'

  constructor(
    readonly code: MigrationErrorCode,
    message: string,
    options?: { cause?: unknown },
  ) {
    super(message, options)
  }
}

/** The reason that a thrown value gives, for a message of our own: without a full stop. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  // Of a host with several addresses, Node says the reason of each and nothing itself.
  const { message } = error instanceof AggregateError && !error.message ? (error.errors[0] as Error) : error
  return message.replace(/\.$/, '')
}
