import { createWorker, type WorkerOptions } from '@pgq/worker'
import type { ClientConfig } from 'pg'
import { checkSchema, type DatabaseOptions, databaseUrl, withClient } from '../connection.js'
import { EXIT } from '../failure.js'
import { type LogOptions, openLog } from '../log.js'
import { loadWorkerModule, type WorkerModule } from '../worker-module.js'

interface WorkOptions extends DatabaseOptions, LogOptions {
  readonly queue?: readonly string[]
  readonly concurrency?: number
  readonly graceMs?: number
  readonly pollMs?: number
  /** False with --no-doorbell. */
  readonly doorbell: boolean
}

/** Runs a worker with the handlers of a module, until a signal drains it. What the command line says goes before the module. */
export async function work(file: string, options: WorkOptions): Promise<number> {
  const module = await loadWorkerModule(file)
  const schema = options.schema ?? module.schema ?? (process.env.PGQ_SCHEMA || 'pgq')
  const connection = connectionOf(module, options)
  const worker = createWorker({ ...module, ...settingsOf(module, options), ...connection, schema })
  // The worker's own start says less of what is wrong.
  await withClient(configOf(connection), (client) => checkSchema(client, schema))
  const stopped = new Promise<void>((resolve) => worker.on('worker.stopped', () => resolve()))
  await worker.start()
  await stopped
  return EXIT.ok
}

/** --database-url, or else the module's own, or else the environment's. */
function connectionOf(
  { connection, connectionString }: WorkerModule,
  options: WorkOptions,
): Pick<WorkerOptions, 'connection' | 'connectionString'> {
  if (!options.databaseUrl && connection) return { connection }
  return { connectionString: options.databaseUrl || connectionString || databaseUrl(options) }
}

const configOf = ({ connection, connectionString }: ReturnType<typeof connectionOf>): ClientConfig =>
  connection ?? { connectionString: connectionString! }

function settingsOf(module: WorkerModule, options: WorkOptions): Partial<WorkerOptions> {
  const { queue, concurrency, graceMs, pollMs, doorbell } = options
  const ownLog = module.logger && !options.json && !options.logLevel
  return {
    handleSignals: true,
    ...(!ownLog && { logger: openLog(options) }),
    ...(queue && { queues: queue }),
    ...(concurrency !== undefined && { concurrency }),
    ...(graceMs !== undefined && { graceMs }),
    ...(pollMs !== undefined && { pollMs }),
    ...(!doorbell && { doorbell }),
  }
}
