import { type TestDatabase, testDatabase } from '@pgq/test-db'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { connect, migrateAll, type ShopDatabase } from '../src/database.js'

/** A database of this file's own, with the shop's tables and the queue's, both empty before each test. */
export async function shopDatabase(): Promise<Pick<TestDatabase, 'url'> & { readonly db: ShopDatabase }> {
  const { url, truncate } = await testDatabase()
  const db = connect(url)
  beforeAll(() => migrateAll(url, db))
  beforeEach(() => Promise.all([truncate('shop'), truncate('pgq')]))
  afterAll(() => db.destroy())
  return { url, db }
}
