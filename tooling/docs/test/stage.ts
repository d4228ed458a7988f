// A process for the pieces of code of one page that are no programs: they run in their order, and what one of them starts
// (a worker) goes on until the page ends.
import { pathToFileURL } from 'node:url'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'

const pool = new pg.Pool({ connectionString: process.env.DATABASE_URL, allowExitOnIdle: true })
Object.assign(globalThis, { pool, db: new Kysely({ dialect: new PostgresDialect({ pool }) }) })

process.on('message', async (path: string) => {
  const error = await import(pathToFileURL(path).href).then(
    () => undefined,
    (thrown) => (thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)),
  )
  // A promise that was rejected and forgotten ends the process before this.
  await new Promise((resolve) => setImmediate(resolve))
  process.send!({ error })
})
