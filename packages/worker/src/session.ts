import { lockLiveness } from '@pgq/core'
import type pg from 'pg'
import { Connection } from './connection.js'
import type { ResolvedOptions } from './options.js'

/**
 * Settings of the connections that only pgq's own statements use. Sent by SET, because poolers refuse startup options.
 * Without the planner settings, a statement planned while the table was empty keeps its sequential scan for ever: 104 ms
 * per claim at 300,000 jobs instead of 0.14 ms.
 */
const OWN_STATEMENTS = `
  set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set enable_hashjoin = off;
  set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan;
  set lock_timeout = '10s'; set statement_timeout = '60s'`

/** Settings of every connection: isolation pinned, and death noticed on both sides of the wire. */
const ALL_CONNECTIONS = `
  set application_name = 'pgq worker'; set default_transaction_isolation = 'read committed';
  set default_transaction_read_only = off; set client_connection_check_interval = '500ms';
  set tcp_keepalives_idle = 5; set tcp_keepalives_interval = 2; set tcp_keepalives_count = 3; set tcp_user_timeout = '10s'`

/** How long our own short statements may take before the connection counts as dead, in ms. */
const STATEMENT_DEADLINE_MS = 65_000

/** Opens the worker's connections, each with its settings and its share of the liveness lock. */
export class Session {
  /** Changes when the worker was taken for dead and starts anew. */
  workerId = 0
  readonly #connections = new Set<Connection>()

  constructor(private readonly options: ResolvedOptions) {}

  /** A connection for pgq's own statements. */
  open(
    extra: { settings?: string; prepare?: (client: pg.Client) => Promise<void>; onLost?: (error: Error) => void } = {},
  ): Connection {
    const config = { ...this.#config(), query_timeout: STATEMENT_DEADLINE_MS }
    return this.#add(config, `${OWN_STATEMENTS};${extra.settings ?? ''}`, extra.prepare, extra.onLost)
  }

  /** A connection on which handlers run statements of their own: the planner is left as it is, and statements may follow on. */
  openForHandlers(): Connection {
    return this.#add({ ...this.#config(), pipeline: true } as pg.ClientConfig, '')
  }

  /** Drops all clients: the next use of each connection opens a new one, under the present worker id. */
  async reset(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.reset()))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.close()))
  }

  #config(): pg.ClientConfig {
    return { connectionTimeoutMillis: 10_000, keepAlive: true, ...this.options.connection }
  }

  #add(
    config: pg.ClientConfig,
    settings: string,
    prepare?: (client: pg.Client) => Promise<void>,
    onLost?: (error: Error) => void,
  ) {
    const connection = new Connection(
      config,
      async (client) => {
        await client.query(`${ALL_CONNECTIONS};${settings}`)
        if (this.workerId) await lockLiveness(client, this.options.schema, this.workerId)
        await prepare?.(client)
      },
      onLost,
    )
    this.#connections.add(connection)
    return connection
  }
}
