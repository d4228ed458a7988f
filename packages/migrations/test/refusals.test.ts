import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { MigrationError, migrate, migrateDown, migrationSql, schemaVersion } from '../src/index.js'
import { reasonOf } from '../src/migration-error.js'
import { checkServer } from '../src/server.js'
import { catalogDump } from './catalog-dump.js'
import { connect, emptyDatabase } from './empty-database.js'

describe('schema names', () => {
  const hostile = [
    '',
    ' ',
    'Pgq',
    '1st',
    'a-b',
    'a.b',
    'a"b',
    `a'b`,
    'pgq\n',
    'pgq"; drop schema public cascade; --',
    'é',
    'a'.repeat(49),
  ]
  const reserved = ['pg_catalog', 'pg_toast', 'pg_mine', 'information_schema']
  const notNames = [null, 1, ['pgq'], {}]

  test.each([...hostile, ...reserved, ...notNames])('%j is refused before anything happens', async (name) => {
    const schema = name as string
    const nowhere = new pg.Client()
    const refusal = expect.objectContaining({ name: 'MigrationError', code: 'PGQ_SCHEMA_NAME' })
    await expect(migrate(nowhere, { schema })).rejects.toEqual(refusal)
    await expect(migrateDown(nowhere, { schema })).rejects.toEqual(refusal)
    await expect(migrationSql({ schema })).rejects.toEqual(refusal)
    await expect(schemaVersion(nowhere, { schema })).rejects.toEqual(refusal)
  })

  // Mutant: an option that does not exist is passed over, and the schema pgq is dropped.
  test('one that stands under another option is not passed over', async () => {
    const nowhere = new pg.Client()
    const options = { schem: 'mine' } as object
    const refusal = expect.objectContaining({
      code: 'PGQ_OPTION',
      message: expect.stringMatching(/schem\. The .* schema/),
    })
    await expect(migrate(nowhere, options)).rejects.toEqual(refusal)
    await expect(migrateDown(nowhere, options)).rejects.toEqual(refusal)
    await expect(migrationSql(options)).rejects.toEqual(refusal)
    await expect(schemaVersion(nowhere, options)).rejects.toEqual(refusal)
  })

  test.each(['a', '_', 'a'.repeat(48), 'job_queue_2'])('%j is allowed', async (schema) => {
    expect((await migrate(await emptyDatabase(), { schema })).schema).toBe(schema)
  })
})

describe('connections', () => {
  // Mutant: what is missing is taken for a Pool.
  test('one that is missing is told as such', async () => {
    const url = process.env.PGQ_NO_SUCH_VARIABLE as string
    const message = expect.stringContaining('The connection string is undefined')
    await expect(migrate(url)).rejects.toMatchObject({ code: 'PGQ_CLIENT', message })
    await expect(migrateDown(url)).rejects.toMatchObject({ code: 'PGQ_CLIENT', message })
  })

  test('a Pool is refused', async () => {
    const pool = new pg.Pool() as unknown as pg.Client
    await expect(migrate(pool)).rejects.toMatchObject({ code: 'PGQ_CLIENT', message: expect.stringContaining('Pool') })
    await expect(migrateDown(pool)).rejects.toMatchObject({ code: 'PGQ_CLIENT' })
  })

  test.each([undefined, null, 5, {}])('%j is refused', async (connection) => {
    await expect(migrate(connection as unknown as pg.Client)).rejects.toMatchObject({ code: 'PGQ_CLIENT' })
  })

  test('a client of a pool will do', async () => {
    const pool = new pg.Pool({ connectionString: await emptyDatabase() })
    const client = await pool.connect()
    try {
      expect((await migrate(client)).applied).toEqual(['1_queue'])
    } finally {
      client.release()
      await pool.end()
    }
  })

  // localhost is two addresses on many machines: Node rejects with an error for each, and no words of its own.
  test('the reason is said, also where a host has several addresses', () => {
    const refused = (address: string) => new Error(`connect ECONNREFUSED ${address}:5432`)
    expect(reasonOf(new AggregateError([refused('::1'), refused('127.0.0.1')]))).toBe('connect ECONNREFUSED ::1:5432')
  })

  test('a client that is not connected is refused, and does not hang', async () => {
    await expect(migrate(new pg.Client())).rejects.toMatchObject({ code: 'PGQ_CLIENT' })
  })

  // Catches: no look at the transaction status; migrate() would commit the caller's transaction.
  test('a client with a transaction open is refused, and keeps it', async () => {
    const client = await connect(await emptyDatabase())
    await client.query('begin; create table mine ()')
    await expect(migrate(client)).rejects.toMatchObject({ code: 'PGQ_IN_TRANSACTION' })
    await client.query('rollback')
    expect((await client.query(`select to_regclass('mine') as mine`)).rows).toEqual([{ mine: null }])
  })

  test('a connection string that cannot be read is refused', async () => {
    await expect(migrate('postgres://someone:secret@host:port/db')).rejects.toMatchObject({
      code: 'PGQ_CONNECTION',
      message: expect.not.stringContaining('secret'),
    })
  })

  test('a connection string that leads nowhere says so, without its password', async () => {
    const error = await migrate('postgres://someone:secret@127.0.0.1:1/nothing').catch((thrown) => thrown)
    expect(error).toBeInstanceOf(MigrationError)
    expect(error).toMatchObject({ code: 'PGQ_CONNECTION', cause: expect.any(Error) })
    expect(error.message).toContain('127.0.0.1:1')
    expect(error.message).not.toContain('secret')
  })
})

describe('servers', () => {
  test('older than 14 is refused', () => {
    expect(() => checkServer({ version: 130_022, standby: false })).toThrow(
      expect.objectContaining({ code: 'PGQ_POSTGRES_TOO_OLD', message: expect.stringContaining('PostgreSQL 13') }),
    )
    expect(() => checkServer({ version: 140_000, standby: false })).not.toThrow()
  })
})

describe("somebody else's schema", () => {
  test.each([
    ['with a table', 'create schema pgq; create table pgq.queues ()', 'queues'],
    ['with nothing but a function', 'create schema pgq; create function pgq.version() returns int return 1', 'version'],
    ['with nothing but a type', 'create schema pgq; create domain pgq.name as text', 'name'],
    [
      'that an extension lives in',
      'create schema pgq; create extension pg_stat_statements schema pgq',
      'pg_stat_statements',
    ],
    [
      'that belongs to an extension',
      'create schema pgq; create extension pg_stat_statements schema public; alter extension pg_stat_statements add schema pgq',
      'pg_stat_statements',
    ],
    [
      'with a migrations table of another shape',
      'create schema pgq; create table pgq.migrations (version text)',
      'migrations',
    ],
    [
      "with another program's postgres-migrations table",
      `create schema pgq; create table pgq.migrations (id integer primary key, name varchar(100), hash varchar(40), executed_at timestamp);
       insert into pgq.migrations values (0, 'create-migrations-table', 'e18db593bcde2aca2a408c4d1100f6abba2195df'), (1, 'theirs', 'x')`,
      'another program',
    ],
    [
      'with an empty migrations table and a table',
      `create schema pgq; create table pgq.mine (); create table pgq.migrations (id integer primary key, name varchar(100), hash varchar(40), executed_at timestamp)`,
      'mine',
    ],
  ])('%s is refused and stays as it is', async (_, sql, owner) => {
    const client = await connect(await emptyDatabase())
    await client.query(sql)
    const before = await catalogDump(client, 'pgq')
    const refusal = {
      code: 'PGQ_FOREIGN_SCHEMA',
      message: expect.stringMatching(new RegExp(`${owner}.*Choose another schema`)),
    }
    await expect(migrate(client)).rejects.toMatchObject(refusal)
    await expect(migrateDown(client, { to: 0 })).rejects.toMatchObject(refusal)
    expect(await catalogDump(client, 'pgq')).toEqual(before)
    expect(await schemaVersion(client)).toBe(0)
    expect((await migrate(client, { schema: 'job_queue' })).applied).toEqual(['1_queue'])
  })
})
