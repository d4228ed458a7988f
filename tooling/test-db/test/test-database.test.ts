import pg from 'pg'
import { expect, inject, onTestFinished, test } from 'vitest'
import { createDatabase, testDatabase } from '../src/index.js'

const database = await testDatabase()

async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url)
  await client.connect()
  client.on('error', () => {})
  onTestFinished(() => client.end())
  return client
}

test('is a copy of the migrated template', async () => {
  const client = await connect(database.url)
  const { rows } = await client.query(`select current_database() as name, to_regclass('pgq.jobs')::text as jobs`)
  expect(rows).toEqual([{ name: database.name, jobs: 'pgq.jobs' }])
  expect(database.name).toMatch(/^pgq_test_[0-9a-f]{16}$/)
})

test('truncate empties the tables and starts ids again, but keeps the migrations', async () => {
  const client = await connect(database.url)
  await client.query('create schema mine; create table mine.migrations (id int); create table mine.things (id serial)')
  await client.query('insert into mine.migrations values (1); insert into mine.things default values')
  await database.truncate('mine')
  await client.query('insert into mine.things default values')
  const { rows } = await client.query('select (select count(*)::int from mine.migrations) as kept, id from mine.things')
  expect(rows).toEqual([{ kept: 1, id: 1 }])
})

test('copies of one template are made at the same time, and dropped with their connections open', async () => {
  const template = inject('pgqTemplate')
  const copies = await Promise.all([1, 2, 3].map(() => createDatabase(database.adminUrl, { template })))
  const admin = await connect(database.adminUrl)
  for (const copy of copies) await connect(copy.url)
  for (const copy of copies) await copy.drop()
  const left = await admin.query('select datname from pg_database where datname = any($1)', [copies.map((c) => c.name)])
  expect(left.rows).toEqual([])
})
