import pg from 'pg'
import { createDatabase, type TemporaryDatabase } from './create-database.js'

declare module 'vitest' {
  export interface ProvidedContext {
    /** A superuser's URL on the server of this test run. */
    pgqAdminUrl: string
    /** The name of the migrated database that every test file copies. */
    pgqTemplate: string
  }
}

export interface TestDatabase extends Pick<TemporaryDatabase, 'url' | 'name'> {
  /** The URL of the database `postgres` on the same server. */
  readonly adminUrl: string
  /** Empties every table of the schema but `migrations`, and starts its sequences again. */
  truncate(schema?: string): Promise<void>
}

/**
 * A migrated database for this test file alone, dropped after its last test. Once per file, at its top:
 * `const database = await testDatabase()`. `{ migrated: false }` gives an empty one.
 */
export async function testDatabase({ migrated = true } = {}): Promise<TestDatabase> {
  // Not at the top: this package also serves programs that know no vitest.
  const { afterAll, inject } = await import('vitest')
  const adminUrl = inject('pgqAdminUrl')
  const { url, name, drop } = await createDatabase(adminUrl, migrated ? { template: inject('pgqTemplate') } : {})
  const client = new pg.Client(url)
  await client.connect()
  afterAll(async () => {
    await client.end()
    await drop()
  })
  return { url, name, adminUrl, truncate: (schema = 'pgq') => truncateTables(client, schema) }
}

async function truncateTables(client: pg.Client, schema: string): Promise<void> {
  const { rows } = await client.query<{ tables: string | null }>(
    `select string_agg(format('%I.%I', schemaname, tablename), ', ') as tables
     from pg_tables where schemaname = $1 and tablename <> 'migrations'`,
    [schema],
  )
  if (rows[0]?.tables) await client.query(`truncate ${rows[0].tables} restart identity cascade`)
}
