import { setTimeout as sleep } from 'node:timers/promises'
import type { Client } from 'pg'
import { withCleanup } from './with-cleanup.js'

/** Runs `work` while no other session migrates this schema; waits as long as it takes. The lock ends with the session. */
export async function withLock<T>(client: Client, schema: string, work: () => Promise<T>): Promise<T> {
  while (!(await tryLock(client, schema))) await sleep(pauseMs())
  return withCleanup(work, () => unlock(client, schema))
}

// Asked again and again instead of waited for: a session that waits inside a statement holds a snapshot, and a migration
// that builds an index concurrently would wait for that snapshot: a deadlock.
async function tryLock(client: Client, schema: string): Promise<boolean> {
  const { rows } = await client.query<{ locked: boolean }>(
    `select pg_catalog.pg_try_advisory_lock(${lockKey}) as locked`,
    [schema],
  )
  return rows[0]?.locked === true
}

async function unlock(client: Client, schema: string): Promise<void> {
  await client.query(`select pg_catalog.pg_advisory_unlock(${lockKey})`, [schema])
}

const lockKey = `pg_catalog.hashtextextended('pgq migrations ' || $1, 0)`

function pauseMs(): number {
  return 25 + Math.random() * 50
}
