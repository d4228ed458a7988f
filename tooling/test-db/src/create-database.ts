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
  const from = template ? ` template ${pg.escapeIdentifier(template)}` : ''
  await onClient(adminUrl, (client) => client.query(`create database ${name}${from}`))
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
  await onClient(adminUrl, async (client) => {
    const isInUse = async () =>
      (await client.query('select from pg_stat_activity where datname = $1', [name])).rowCount !== 0
    while (Date.now() < patienceEndsAt && (await isInUse())) await setTimeout(20)
    await client.query(`drop database if exists ${name} with (force)`)
  })
}

async function onClient(url: string, work: (client: pg.Client) => Promise<unknown>): Promise<void> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    await work(client)
  } finally {
    await client.end()
  }
}
