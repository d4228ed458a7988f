import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { startPostgres } from '@pgq/test-db'
import { expect, onTestFinished, test } from 'vitest'
import { latestVersion, migrate, migrateDown, schemaVersion } from '../src/index.js'
import { connect } from './empty-database.js'

test('a standby is refused, and its version can be read', { timeout: 60_000 }, async () => {
  const server = await startPostgres({ fast: true })
  onTestFinished(() => server.stop('immediate'))
  await migrate(server.url)
  // Without a primary to follow it stays what it is; a server takes connections as soon as its data is consistent.
  await server.restart('fast', () => writeFileSync(join(server.dataDir, 'standby.signal'), ''))

  const refusal = { code: 'PGQ_STANDBY', message: expect.stringContaining('primary') }
  await expect(migrate(server.url, { schema: 'another' })).rejects.toMatchObject(refusal)
  await expect(migrateDown(server.url)).rejects.toMatchObject(refusal)
  expect(await schemaVersion(await connect(server.url))).toBe(latestVersion)
})
