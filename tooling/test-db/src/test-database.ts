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

/**
 * Small tables are emptied by DELETE: TRUNCATE gives every table and index a new file, which takes 20 ms, before each of two thousand
 * tests. The lock is that of TRUNCATE: whoever still writes is waited for.
 */
async function truncateTables(client: pg.Client, schema: string): Promise<void> {
  const { rows: tables } = await client.query<{ name: string; isSmall: boolean }>(
    `select name, pg_relation_size(name::regclass) < 1000000 as "isSmall"
     from (select format('%I.%I', schemaname, tablename) as name from pg_tables where schemaname = $1 and tablename <> 'migrations') as one`,
    [schema],
  )
  if (tables.length === 0) return
  const names = tables.map(({ name }) => name)
  const large = tables.filter(({ isSmall }) => !isSmall).map(({ name }) => name)
  await client.query(`
    begin;
    lock table ${names.join()};
    ${large.length > 0 ? `truncate ${large.join()} cascade;` : ''}
    ${names.map((name) => `delete from ${name};`).join(' ')}
    select setval(format('%I.%I', schemaname, sequencename), start_value, false) from pg_sequences where schemaname = '${schema}';
    commit`)
}
