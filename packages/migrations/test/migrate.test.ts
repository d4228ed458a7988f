import pg from 'pg'
import { describe, expect, test } from 'vitest'
import { latestVersion, migrate, schemaVersion } from '../src/index.js'
import { connect, emptyDatabase } from './empty-database.js'

describe('migrate', () => {
  test('makes the schema, and has nothing to do the next time', async () => {
    const url = await emptyDatabase()
    expect(await migrate(url)).toEqual({ schema: 'pgq', from: 0, to: latestVersion, applied: ['1_queue'] })
    expect(await migrate(url)).toEqual({ schema: 'pgq', from: latestVersion, to: latestVersion, applied: [] })
  })

  test('keeps two schemas in one database apart', async () => {
    const client = await connect(await emptyDatabase())
    expect((await migrate(client, { schema: 'first' })).applied).toEqual(['1_queue'])
    expect((await migrate(client, { schema: 'second' })).applied).toEqual(['1_queue'])
    const { rows } = await client.query(`select 'first.jobs'::regclass <> 'second.jobs'::regclass as apart`)
    expect(rows).toEqual([{ apart: true }])
  })

  test('migrates two schemas of one database at the same time', async () => {
    const url = await emptyDatabase()
    const results = await Promise.all([migrate(url, { schema: 'first' }), migrate(url, { schema: 'second' })])
    expect(results.map(({ applied }) => applied)).toEqual([['1_queue'], ['1_queue']])
  })

  test('quotes the schema name: a key word will do', async () => {
    const client = await connect(await emptyDatabase())
    await migrate(client, { schema: 'select' })
    expect(await schemaVersion(client, { schema: 'select' })).toBe(latestVersion)
  })

  test("leaves a user's own public.migrations table alone", async () => {
    const client = await connect(await emptyDatabase())
    await client.query(`create table public.migrations (version text); insert into public.migrations values ('mine')`)
    await migrate(client)
    expect((await client.query('select * from public.migrations')).rows).toEqual([{ version: 'mine' }])
  })

  // Catches: search_path without pg_temp at its end.
  test('does not take temporary tables of the same names for its own', async () => {
    const client = await connect(await emptyDatabase())
    await client.query('create temp table jobs (mine text); create temp table migrations (mine text)')
    await migrate(client)
    const { rows } = await client.query(
      `select count(*)::integer as columns from pg_attribute where attrelid = 'pg_temp.jobs'::regclass and attnum > 0`,
    )
    expect(rows).toEqual([{ columns: 1 }])
    expect(await schemaVersion(client)).toBe(latestVersion)
  })

  // Catches: "create schema if not exists" without looking first, which needs create on the database.
  test('a role that may only use a schema made for it', async () => {
    const url = await emptyDatabase()
    const client = await connect(url)
    const role = `tenant_${new URL(url).pathname.slice(1)}`
    await client.query(`create role ${role}`)
    try {
      await client.query(`create schema pgq; grant usage, create on schema pgq to ${role}; set role ${role}`)
      expect((await migrate(client)).applied).toEqual(['1_queue'])
      expect((await migrate(client)).applied).toEqual([])
    } finally {
      await client.query(`reset role; drop owned by ${role}; drop role ${role}`)
    }
  })
})

describe('migrate leaves a given client as it was', () => {
  async function stateOf(client: pg.Client) {
    const { rows } = await client.query(`
      select current_setting('search_path') as path,
        (select count(*)::integer from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks`)
    return { ...rows[0], listeners: client.listenerCount('error'), status: client.getTransactionStatus() }
  }

  // Catches: no unlock, no search path restored, "reset search_path" instead of the previous one.
  test('after success', async () => {
    const client = await connect(await emptyDatabase())
    await client.query(`set search_path to "Some ""Path""", public`)
    const before = await stateOf(client)
    await migrate(client)
    expect(await stateOf(client)).toEqual(before)
    expect(before).toMatchObject({ path: '"Some ""Path""", public', locks: 0 })
  })

  test('after a refusal', async () => {
    const client = await connect(await emptyDatabase())
    await client.query('set search_path to public; create schema pgq; create table pgq.mine ()')
    const before = await stateOf(client)
    await expect(migrate(client)).rejects.toMatchObject({ code: 'PGQ_FOREIGN_SCHEMA' })
    expect(await stateOf(client)).toEqual(before)
  })

  test('after a failure in the middle, of which nothing stays', async () => {
    const client = await connect(await emptyDatabase())
    await client.query(`
      set search_path to public;
      create function refuse() returns event_trigger language plpgsql as $$ begin raise 'no views today'; end $$;
      create event trigger refuse on ddl_command_end when tag in ('CREATE VIEW') execute function refuse()`)
    const before = await stateOf(client)
    await expect(migrate(client)).rejects.toMatchObject({
      code: 'PGQ_MIGRATION_FAILED',
      message: expect.stringContaining('no views today'),
      cause: expect.any(Error),
    })
    expect(await stateOf(client)).toEqual(before)
    expect((await client.query(`select to_regclass('pgq.jobs') as jobs`)).rows).toEqual([{ jobs: null }])
    await client.query('drop event trigger refuse')
    expect((await migrate(client)).applied).toEqual(['1_queue'])
  })
})

describe('migrate after a crash', () => {
  // The backend ends itself at the first statement of that kind, so the moment needs no waiting for.
  const moments = ['CREATE SCHEMA', 'CREATE SEQUENCE', 'CREATE TABLE', 'CREATE INDEX', 'CREATE FUNCTION', 'CREATE VIEW']

  test.each(moments)('at %s: the next one finishes', async (tag) => {
    const url = await emptyDatabase()
    const client = await connect(url)
    await client.query(`
      create function die() returns event_trigger language plpgsql
        as $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); end $$;
      create event trigger die on ddl_command_end when tag in ('${tag}') execute function die()`)
    await expect(migrate(url)).rejects.toMatchObject({ code: 'PGQ_MIGRATION_FAILED', cause: expect.any(Error) })
    expect(await schemaVersion(client)).toBe(0)

    await client.query('drop event trigger die')
    expect((await migrate(url)).to).toBe(latestVersion)
    expect(await schemaVersion(client)).toBe(latestVersion)
  })

  // Catches: no error listener while migrating; this process would end with an uncaught error.
  test("a given client's backend dies: an error, and no uncaught one", async () => {
    const url = await emptyDatabase()
    const client = new pg.Client(url)
    await client.connect()
    await client.query(`
      create function die() returns event_trigger language plpgsql
        as $$ begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); end $$;
      create event trigger die on ddl_command_end when tag in ('CREATE VIEW') execute function die()`)
    await expect(migrate(client)).rejects.toMatchObject({ code: 'PGQ_MIGRATION_FAILED' })
    await client.end()
  })

  test.each([
    ['an empty schema', 'create schema pgq'],
    [
      'a schema and an empty migrations table',
      'create schema pgq; create table pgq.migrations (id integer primary key, name varchar(100) unique not null, hash varchar(40) not null, executed_at timestamp default current_timestamp)',
    ],
  ])('that left %s', async (_, leftovers) => {
    const client = await connect(await emptyDatabase())
    await client.query(leftovers)
    expect((await migrate(client)).applied).toEqual(['1_queue'])
  })
})
