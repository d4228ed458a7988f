// The whole shop in one process: database, API, dashboard and worker. In production the API and the worker are programs of their own.
import { fileURLToPath } from 'node:url'
import { startPostgres } from '@pgq/test-db'
import { serveApi, shopApi } from './api.js'
import { connect, migrateAll } from './database.js'
import { logJobs } from './log-jobs.js'
import { readOrders } from './once/orders-file.js'
import { runOnce } from './once/run-once.js'
import { readOptions, refuse } from './options.js'
import { openSchedules } from './tasks.js'
import { shopWorker } from './worker.js'

const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGPIPE: 141, SIGTERM: 143 }

const options = readOptions(process.argv, fileURLToPath(new URL('../data/orders.csv', import.meta.url)))
// Before anything is started: orders that cannot be read need no database.
const orders = options.once ? await readOrders(options.orders).catch((error) => refuse(error.message)) : []

// How to stop what was started, the newest first.
const started: (() => Promise<unknown>)[] = []
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => interrupt(EXIT_CODES[signal]))
// Nobody reads on: `npm start | head`.
process.stdout.on('error', () => interrupted.signal.aborted || interrupt(EXIT_CODES.SIGPIPE))

try {
  await run()
} catch (error) {
  // What was interrupted fails in many ways, and its end is under way.
  if (!interrupted.signal.aborted) {
    console.error(explain(error))
    await end(1)
  }
}

/** With --once, to the end. Without, the shop is open when this resolves, until a signal comes. */
async function run(): Promise<void> {
  const databaseUrl = process.env.DATABASE_URL || (await embeddedPostgres())
  const db = connect(databaseUrl)
  started.unshift(() => db.destroy())
  await migrateAll(databaseUrl, db)
  await openSchedules(db)

  // Loaded only where somebody asks for it, by OpenTelemetry's own variable.
  const isTraced = process.env.OTEL_TRACES_EXPORTER === 'console'
  const tracing = isTraced ? (await import('./tracing.js')).shopTracing() : undefined
  if (tracing) started.unshift(tracing.close)
  const worker = shopWorker(databaseUrl, db, tracing)
  started.unshift(() => worker.stop())
  const app = shopApi(db)
  if (!options.once) {
    logJobs(worker)
    // Loaded only where somebody looks: --once starts without.
    const { shopMonitoring } = await import('./monitoring.js')
    const monitoring = shopMonitoring(databaseUrl, worker)
    started.unshift(() => monitoring.close())
    app.route('/', monitoring.routes)
  }
  await worker.start()

  const api = await serveApi(app, options.once ? 0 : options.port)
  started.unshift(() => api.close())

  if (options.once) {
    const booksAreRight = await runOnce({ db, worker, apiUrl: api.url, signal: interrupted.signal }, orders)
    await end(booksAreRight ? 0 : 1)
  }
  console.log(`
The shop is open. Ctrl-C closes it.

  shop       ${api.url}
  dashboard  ${api.url}/dashboard
  metrics    ${api.url}/metrics

  curl ${api.url}/orders -d '{"customer":"me@shop.test","sku":"tea","quantity":2}'
  curl ${api.url}/orders/1
  curl ${api.url}/restock -X POST
  curl ${api.url}/jobs
  psql ${process.env.DATABASE_URL ? '"$DATABASE_URL"' : databaseUrl}
`)
}

async function embeddedPostgres(): Promise<string> {
  const server = await startPostgres()
  // Its data go with it, so nothing has to be written down in good order.
  started.unshift(() => server.stop('immediate'))
  return server.url
}

async function interrupt(code: number): Promise<never> {
  interrupted.abort()
  await stopAll()
  console.log('\nThe shop is closed.')
  process.exit(code)
}

async function end(code: number): Promise<never> {
  await stopAll()
  process.exit(code)
}

async function stopAll(): Promise<void> {
  for (const stop of started.splice(0)) await stop().catch((error) => console.error(error))
}

function explain(error: unknown): unknown {
  const { code, message } = error as { code?: string; message?: string }
  if (code === 'EADDRINUSE') return `Port ${options.port} is taken: choose another one with --port.`
  // What the database or pgq refuses says what to do; anything else is a bug here, and its stack tells where.
  return code && message ? message : error
}
