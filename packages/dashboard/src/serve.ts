import { once } from 'node:events'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import { type Executor, InvalidOptionError } from '@pgq/core'
import { dashboard } from './dashboard.js'
import { limitTime } from './limit-time.js'
import { type DashboardOptions, LOOPBACK_HOSTS } from './options.js'

/** Where to serve it, and everything that dashboard() takes. */
export interface ServeOptions extends Omit<DashboardOptions, 'authenticate' | 'executor'> {
  /** Where to ask. This or `connectionString`. */
  readonly executor?: Executor
  /** Opens a small pool for the dashboard alone, whose questions end after 2 s. Takes the package pg. */
  readonly connectionString?: string
  /** Default 127.0.0.1: this machine alone. Any other needs `authenticate`. */
  readonly host?: string
  /** Default 4747; 0 takes a free one. */
  readonly port?: number
  /** Who may come in. Default everybody on this machine. */
  readonly authenticate?: DashboardOptions['authenticate']
}

/** A dashboard that is served. */
export interface ServedDashboard {
  readonly url: string
  /** Ends the server and its connections. */
  close(): Promise<void>
}

/**
 * Serves a dashboard by itself. Throws InvalidOptionError rather than showing it to a network without `authenticate`; rejects
 * with EADDRINUSE when the port is taken.
 */
export async function serveDashboard(options: ServeOptions): Promise<ServedDashboard> {
  const { executor, connectionString, host = '127.0.0.1', port = 4747, authenticate = false, ...rest } = options
  refuseOpenDoor(host, authenticate)
  const source = await openSource(executor, connectionString)
  try {
    const handler = dashboard({ ...rest, executor: source.executor, authenticate })
    const server = createAdaptorServer({ fetch: handler }) as Server
    server.listen(port, host)
    await once(server, 'listening')
    return {
      url: `http://${host.includes(':') ? `[${host}]` : host}:${(server.address() as AddressInfo).port}${rest.basePath ?? ''}`,
      async close() {
        const closed = once(server, 'close')
        server.close()
        server.closeAllConnections()
        await closed
        await source.close()
      },
    }
  } catch (error) {
    await source.close()
    throw error
  }
}

function refuseOpenDoor(host: string, authenticate: DashboardOptions['authenticate']): void {
  const isLoopback = LOOPBACK_HOSTS.includes(host) || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)
  if (authenticate !== false || isLoopback) return
  throw new InvalidOptionError(
    `On ${host}, anybody who reaches this machine could see and change jobs. Pass authenticate: basicAuth({ username, password }), or leave host out: the dashboard then answers to this machine alone.`,
  )
}

const STATEMENT_MS = 2_000
/** The server ends a statement before; what is silent for so long has no server any more. */
const SILENCE_MS = 4_000

async function openSource(executor: Executor | undefined, connectionString: string | undefined) {
  if (executor) return { executor, close: async () => {} }
  if (!connectionString) throw new InvalidOptionError('The dashboard needs an executor or a connectionString.')
  const { default: pg } = await import('pg')
  const pool = new pg.Pool({
    connectionString,
    max: 4,
    connectionTimeoutMillis: 5_000,
    query_timeout: SILENCE_MS,
    application_name: 'pgq dashboard',
  })
  // A lost connection is said by the question that needed it.
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  return { executor: limitTime(pool, STATEMENT_MS), close: () => pool.end() }
}
