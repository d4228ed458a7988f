import { randomBytes } from 'node:crypto'
import { setTimeout } from 'node:timers/promises'
import pg from 'pg'

export interface CreateDatabaseOptions {
  /** The name of a database to copy; nobody may be connected to it at that time. */
  readonly template?: string
}

export interface TemporaryDatabase {
  readonly url: string
  readonly name: string
  /** Drops the database, when everyone has left or after two seconds: then whoever is still connected is sent away. */
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
    drop: () => dropWhenLeft(adminUrl, name),
  }
}

// A pool that has ended may still have a backend on its way out; sending that one away would be an error nobody awaits.
async function dropWhenLeft(adminUrl: string, name: string): Promise<void> {
  const patienceEndsAt = Date.now() + 2_000
  while (Date.now() < patienceEndsAt && (await isInUse(adminUrl, name))) await setTimeout(20)
  await runOn(adminUrl, `drop database if exists ${name} with (force)`)
}

async function isInUse(adminUrl: string, name: string): Promise<boolean> {
  const { rowCount } = await runOn(adminUrl, `select from pg_stat_activity where datname = '${name}'`)
  return rowCount !== 0
}

async function runOn(url: string, sql: string): Promise<pg.QueryResult> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return await client.query(sql)
  } finally {
    await client.end()
  }
}
