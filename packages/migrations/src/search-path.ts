import type { Client } from 'pg'
import { withCleanup } from './with-cleanup.js'

/** Runs `work` seeing the system catalog only, so that no function of a user's is called; then the old path is back. */
export async function withSearchPath<T>(client: Client, work: () => Promise<T>): Promise<T> {
  const { rows } = await client.query<{ path: string }>(`select pg_catalog.current_setting('search_path') as path`)
  const path = rows[0]?.path ?? ''
  await setSearchPath(client, 'pg_catalog, pg_temp')
  return withCleanup(work, () => setSearchPath(client, path))
}

/** From here on, names mean objects of this schema. */
export async function enterSchema(client: Client, schema: string): Promise<void> {
  await setSearchPath(client, schemaPath(schema))
}

// Unless it is named, pg_temp is searched before everything: a temporary table called jobs would be taken for ours.
export function schemaPath(schema: string): string {
  return `"${schema}", pg_temp`
}

async function setSearchPath(client: Client, path: string): Promise<void> {
  await client.query(`select pg_catalog.set_config('search_path', $1, false)`, [path])
}
