// The whole shop in one process: database, API and worker. In production the API and the worker are programs of their own.
import { fileURLToPath } from 'node:url'
import { startPostgres } from '@pgq/test-db'
import { serveApi } from './api.js'
import { connect, migrateAll } from './database.js'
import { logJobs } from './log-jobs.js'
import { readOrders, runOnce } from './once.js'
import { readOptions } from './options.js'
import { shopWorker } from './worker.js'

const INTERRUPTED = { SIGINT: 130, SIGTERM: 143 }

const options = readOptions(process.argv, fileURLToPath(new URL('../data/orders.csv', import.meta.url)))
// What was started, the newest first: it ends in this order.
const started: (() => Promise<unknown>)[] = []
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    interrupted.abort()
    void end(INTERRUPTED[signal])
  })
}

try {
  const wrong = await run()
  if (wrong) {
    for (const sentence of wrong) console.error(`WRONG: ${sentence}`)
    if (wrong.length === 0) console.log('The books are right.')
    await end(wrong.length === 0 ? 0 : 1)
  }
} catch (error) {
  if (!interrupted.signal.aborted) {
    console.error(error instanceof Error ? explain(error) : error)
    await end(1)
  }
}

/** With --once, answers what is wrong in the books. Without, the shop is open now, until a signal comes. */
async function run(): Promise<string[] | undefined> {
  // Before anything is started: a file that cannot be read needs no database.
  const orders = options.once ? await readOrders(options.orders) : []

  const databaseUrl = process.env.DATABASE_URL || (await embeddedPostgres())
  const db = connect(databaseUrl)
  started.unshift(() => db.destroy())
  await migrateAll(databaseUrl, db)

  const worker = shopWorker(databaseUrl, db)
  started.unshift(() => worker.stop())
  if (!options.once) logJobs(worker)
  await worker.start()

  const api = await serveApi(db, options.once ? 0 : options.port)
  started.unshift(() => api.close())

  if (options.once) return runOnce({ db, worker, apiUrl: api.url, signal: interrupted.signal }, orders)

  console.log(`
The shop is open. Ctrl-C closes it.

  API       ${api.url}
  order     curl ${api.url}/orders --json '{"customer":"you@example.com","sku":"tea","quantity":2}'
  look      curl ${api.url}/orders/1
  jobs      curl ${api.url}/stats
  database  ${process.env.DATABASE_URL ? 'the one of DATABASE_URL' : databaseUrl}
`)
}

async function embeddedPostgres(): Promise<string> {
  const server = await startPostgres()
  // Its data folder goes with it, so nothing has to be written down in good order.
  started.unshift(() => server.stop('immediate'))
  return server.url
}

async function end(code: number): Promise<never> {
  for (const stop of started.splice(0)) await stop().catch((error) => console.error(error))
  process.exit(code)
}

function explain(error: Error & { code?: string }): string {
  if (error.code === 'EADDRINUSE') return `Port ${options.port} is taken: choose another one with --port.`
  return error.stack ?? error.message
}
