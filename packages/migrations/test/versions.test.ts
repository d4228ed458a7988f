import { describe, expect, test } from 'vitest'
import { migrate, migrateDown, migrationSql, schemaVersion } from '../src/index.js'
import { catalogDump } from './catalog-dump.js'
import { connect, emptyDatabase } from './empty-database.js'
import { packageCopy } from './package-copy.js'

const second = {
  '2_notes.sql': 'create table notes (job_id bigint not null);',
  'down/2_notes.sql': 'drop table notes;',
}

describe('an older and a newer version of the package', () => {
  test('the newer one adds its step, and takes it back', async () => {
    const newer = await (await packageCopy(second)).load()
    const client = await connect(await emptyDatabase())
    await migrate(client)
    const before = await catalogDump(client, 'pgq')
    expect(await newer.migrate(client)).toEqual({ schema: 'pgq', from: 1, to: 2, applied: ['2_notes'] })
    expect(await schemaVersion(client)).toBe(2)
    expect(await newer.migrateDown(client)).toEqual({ schema: 'pgq', from: 2, to: 1, reverted: ['2_notes'] })
    expect(await catalogDump(client, 'pgq')).toEqual(before)
    expect(await newer.migrate(client)).toMatchObject({ from: 1, to: 2 })
    expect(await newer.migrateDown(client, { to: 0 })).toMatchObject({ reverted: ['2_notes', '1_queue'] })
    expect(await catalogDump(client, 'pgq')).toEqual([])
  })

  test('migrationSql writes single steps', async () => {
    const newer = await (await packageCopy(second)).load()
    const client = await connect(await emptyDatabase())
    await client.query(await migrationSql())
    await client.query(await newer.migrationSql({ from: 1 }))
    expect((await newer.migrate(client)).applied).toEqual([])
    await client.query(await newer.migrationSql({ direction: 'down', to: 1 }))
    expect((await migrate(client)).applied).toEqual([])
    expect(await schemaVersion(client)).toBe(1)
  })

  // Catches: leaving the check to postgres-migrations, which ignores rows that it does not know.
  test('the older one refuses what the newer one made, and changes nothing', async () => {
    const newer = await (await packageCopy(second)).load()
    const client = await connect(await emptyDatabase())
    await newer.migrate(client)
    const before = await catalogDump(client, 'pgq')
    await expect(migrate(client)).rejects.toMatchObject({ code: 'PGQ_SCHEMA_TOO_NEW' })
    await expect(migrateDown(client)).rejects.toMatchObject({ code: 'PGQ_SCHEMA_TOO_NEW' })
    expect(await catalogDump(client, 'pgq')).toEqual(before)
  })

  test('an edited migration is refused', async () => {
    const edited = await (await packageCopy({ '1_queue.sql': 'create table jobs ();' })).load()
    const client = await connect(await emptyDatabase())
    await migrate(client)
    const refusal = { code: 'PGQ_MIGRATION_CHANGED', message: expect.stringContaining('1_queue') }
    await expect(edited.migrate(client)).rejects.toMatchObject(refusal)
    await expect(edited.migrateDown(client)).rejects.toMatchObject(refusal)
  })

  test('a step that fails is undone, and the steps before it stay', async () => {
    const broken = await (
      await packageCopy({ ...second, '2_notes.sql': 'create table notes (); select 1 / 0;' })
    ).load()
    const client = await connect(await emptyDatabase())
    await expect(broken.migrate(client)).rejects.toMatchObject({
      code: 'PGQ_MIGRATION_FAILED',
      message: expect.stringContaining('division by zero'),
    })
    expect(await schemaVersion(client)).toBe(1)
    expect((await client.query(`select to_regclass('pgq.notes') as notes`)).rows).toEqual([{ notes: null }])
  })

  test('a package without its SQL files says so', async () => {
    const bare = await (await packageCopy({ 'down/1_queue.sql': null })).load()
    const client = await connect(await emptyDatabase())
    await bare.migrate(client)
    await expect(bare.migrateDown(client)).rejects.toMatchObject({ code: 'PGQ_SQL_FILES' })
    expect(await schemaVersion(client)).toBe(1)
  })
})
