import { describe, expect, test } from 'vitest'
import { migrate, migrateDown, schemaVersion } from '../src/index.js'
import { catalogDump } from './catalog-dump.js'
import { connect, emptyDatabase } from './empty-database.js'

describe('migrateDown', () => {
  test('to 0 leaves nothing; up again is the same schema', async () => {
    const client = await connect(await emptyDatabase())
    await migrate(client)
    const first = await catalogDump(client, 'pgq')
    expect(await migrateDown(client, { to: 0 })).toEqual({ schema: 'pgq', from: 1, to: 0, reverted: ['1_queue'] })
    expect(await catalogDump(client, 'pgq')).toEqual([])
    await migrate(client)
    expect(await catalogDump(client, 'pgq')).toEqual(first)
    expect(first.length).toBeGreaterThan(100)
  })

  test('takes one step by default, which drops the schema after the first version', async () => {
    const url = await emptyDatabase()
    await migrate(url)
    expect(await migrateDown(url)).toMatchObject({ from: 1, to: 0 })
    expect(await migrateDown(url)).toEqual({ schema: 'pgq', from: 0, to: 0, reverted: [] })
  })

  test('leaves another schema alone', async () => {
    const client = await connect(await emptyDatabase())
    await migrate(client, { schema: 'first' })
    await migrate(client, { schema: 'second' })
    const second = await catalogDump(client, 'second')
    await migrateDown(client, { schema: 'first', to: 0 })
    expect(await catalogDump(client, 'second')).toEqual(second)
  })

  test('removes what a migrate() that was stopped early has left', async () => {
    const client = await connect(await emptyDatabase())
    await client.query(
      `create schema pgq; create table pgq.migrations (id integer, name text, hash text, executed_at timestamp)`,
    )
    await migrateDown(client, { to: 0 })
    expect(await catalogDump(client, 'pgq')).toEqual([])
  })

  test.each([-1, 0.5, 2, Number.NaN])('to %d is refused', async (to) => {
    const client = await connect(await emptyDatabase())
    await migrate(client)
    await expect(migrateDown(client, { to })).rejects.toMatchObject({ code: 'PGQ_TARGET_VERSION' })
    expect(await schemaVersion(client)).toBe(1)
  })

  test('restores the search path', async () => {
    const client = await connect(await emptyDatabase())
    await migrate(client)
    await client.query('set search_path to pgq, public')
    await migrateDown(client)
    expect((await client.query('show search_path')).rows).toEqual([{ search_path: 'pgq, public' }])
  })
})

describe("migrateDown does not drop a user's objects", () => {
  // Catches: "cascade" anywhere, and a last step that commits before the schema is dropped.
  test.each([
    ['a table in the schema', 'create table pgq.mine ()', 'table mine'],
    ['a function in the schema', 'create function pgq.mine() returns int return 1', 'function mine()'],
    [
      'an overload of one of ours',
      'create function pgq.enqueue(int) returns int return 1',
      'function enqueue(integer)',
    ],
    ['an extension in the schema', 'create extension pg_stat_statements schema pgq', 'pg_stat_statements'],
    ['a view elsewhere on a table of ours', 'create view public.mine as select id from pgq.jobs', 'view public.mine'],
    [
      'a foreign key to a table of ours',
      'create table public.mine (id bigint references pgq.jobs)',
      'mine_id_fkey on table public.mine',
    ],
    [
      'a default that calls a function of ours',
      `create table public.mine (id bigint default pgq.enqueue('mine'))`,
      'column id of table public.mine',
    ],
  ])('%s: an error, and everything stays', async (_, sql, name) => {
    const client = await connect(await emptyDatabase())
    await migrate(client)
    await client.query(sql)
    await client.query(`select pgq.enqueue('a job that stays')`)
    const before = await catalogDump(client, 'pgq')
    await expect(migrateDown(client, { to: 0 })).rejects.toMatchObject({
      code: 'PGQ_FOREIGN_OBJECTS',
      message: expect.stringContaining(name),
      cause: expect.objectContaining({ code: '2BP01' }),
    })
    expect(await catalogDump(client, 'pgq')).toEqual(before)
    expect((await client.query('select count(*)::integer as jobs from pgq.jobs')).rows).toEqual([{ jobs: 1 }])
    expect(await schemaVersion(client)).toBe(1)
  })
})
