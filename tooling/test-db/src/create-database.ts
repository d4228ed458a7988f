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
  await onClient(adminUrl, async (client) => client.query(`create database ${name}${from}${await byCopy(client)}`))
  const url = new URL(adminUrl)
  url.pathname = `/${name}`
  return {
    url: url.href,
    name,
    drop: () => dropWhenLeft(adminUrl, name),
  }
}

/** As files: by way of the log, which is the default since PostgreSQL 15, takes four times as long, and so does the drop. */
async function byCopy(client: pg.Client): Promise<string> {
  const { rows } = await client.query(`select current_setting('server_version_num')::integer >= 150000 as "canChoose"`)
  return rows[0].canChoose ? ' strategy file_copy' : ''
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
