import { describe, expect, test } from 'vitest'
import { migrate, migrateDown, migrationSql, schemaVersion } from '../src/index.js'
import { catalogDump } from './catalog-dump.js'
import { connect, emptyDatabase } from './empty-database.js'

describe('migrationSql', () => {
  test.each(['pgq', 'select'])(
    'up makes what migrate() makes in schema %s, and it finds nothing to do',
    async (schema) => {
      const records = `select id, name, hash from "${schema}".migrations order by id`
      const made = await connect(await emptyDatabase())
      await migrate(made, { schema })
      const expected = { catalog: await catalogDump(made, schema), records: (await made.query(records)).rows }

      const client = await connect(await emptyDatabase())
      await client.query(await migrationSql({ schema }))
      expect({ catalog: await catalogDump(client, schema), records: (await client.query(records)).rows }).toEqual(
        expected,
      )
      expect((await migrate(client, { schema })).applied).toEqual([])
    },
  )

  test('down undoes it', async () => {
    const client = await connect(await emptyDatabase())
    await client.query(await migrationSql())
    await client.query(await migrationSql({ direction: 'down' }))
    expect(await catalogDump(client, 'pgq')).toEqual([])
    expect(await schemaVersion(client)).toBe(0)
  })

  test.each(['up', 'down'] as const)('%s puts the search path back, in a transaction or without', async (direction) => {
    const client = await connect(await emptyDatabase())
    if (direction === 'down') await migrate(client)
    await client.query('set search_path to mine, public')
    const sql = await migrationSql({ direction })
    await client.query('begin')
    await client.query(sql)
    await client.query('rollback')
    await client.query(sql)
    expect((await client.query('show search_path')).rows).toEqual([{ search_path: 'mine, public' }])
    expect(await schemaVersion(client)).toBe(direction === 'up' ? 1 : 0)
  })

  test('works statement by statement, as psql sends it', async () => {
    const client = await connect(await emptyDatabase())
    for (const statement of statementsOf(await migrationSql())) await client.query(statement)
    expect((await migrate(client)).applied).toEqual([])
    expect((await migrateDown(client, { to: 0 })).reverted).toEqual(['1_queue'])
  })

  test("stops at once in somebody else's schema", async () => {
    const client = await connect(await emptyDatabase())
    await client.query('create schema pgq')
    await expect(client.query(await migrationSql())).rejects.toMatchObject({ code: '42P06' })
  })

  test.each([
    { direction: 'up', from: 1, to: 0 },
    { direction: 'down', from: 0, to: 1 },
    { direction: 'up', to: 99 },
    { direction: 'up', from: -1 },
    { direction: 'down', to: 0.5 },
  ] as const)('%j is refused', async (options) => {
    await expect(migrationSql(options)).rejects.toMatchObject({ code: 'PGQ_TARGET_VERSION' })
  })
})

// Cut where psql cuts: at semicolons outside of "begin atomic ... end" and of dollar quotes.
function statementsOf(sql: string): string[] {
  return sql.replaceAll(/--.*$/gm, '').match(/(?:begin atomic[\s\S]*?\nend|(\$\w+\$)[\s\S]*?\1|[^;])+;/g) ?? []
}
