import { randomBytes } from 'node:crypto'
import pg from 'pg'

export interface CreateDatabaseOptions {
  /** The name of a database to copy; nobody may be connected to it at that time. */
  readonly template?: string
}

export interface TemporaryDatabase {
  readonly url: string
  readonly name: string
  /** Sends everyone away who is connected, and drops the database. */
  drop(): Promise<void>
}

/** A new database with a name of its own, `pgq_test_...`, on the server of `adminUrl`. */
export async function createDatabase(
  adminUrl: string,
  { template }: CreateDatabaseOptions = {},
): Promise<TemporaryDatabase> {
  const name = `pgq_test_${randomBytes(8).toString('hex')}`
  await runOn(adminUrl, `create database ${name}${template ? ` template ${pg.escapeIdentifier(template)}` : ''}`)
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    name,
    drop: () => runOn(adminUrl, `drop database if exists ${name} with (force)`),
  }
}

async function runOn(url: string, sql: string): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await client.query(sql)
  } finally {
    await client.end()
  }
}
