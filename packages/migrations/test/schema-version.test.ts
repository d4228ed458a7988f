import { readdirSync } from 'node:fs'
import pg from 'pg'
import { expect, test } from 'vitest'
import { latestVersion, migrate, schemaVersion } from '../src/index.js'
import { connect, emptyDatabase } from './empty-database.js'

test('schemaVersion is 0 before, and the latest after', async () => {
  const client = await connect(await emptyDatabase())
  expect(await schemaVersion(client)).toBe(0)
  await migrate(client)
  expect(await schemaVersion(client)).toBe(latestVersion)
  expect(await schemaVersion(client, { schema: 'another' })).toBe(0)
})

test('schemaVersion takes a Pool', async () => {
  const pool = new pg.Pool({ connectionString: await emptyDatabase() })
  expect(await schemaVersion(pool).finally(() => pool.end())).toBe(0)
})

test('latestVersion is the number of the newest file, and every file has one that undoes it', () => {
  const up = sqlFiles('.')
  expect(up.length).toBe(latestVersion)
  expect(sqlFiles('down')).toEqual(up)
})

function sqlFiles(folder: string): string[] {
  return readdirSync(new URL(`../sql/${folder}`, import.meta.url))
    .filter((name) => name.endsWith('.sql'))
    .sort()
}
