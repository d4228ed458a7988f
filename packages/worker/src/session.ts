import { lockLiveness } from '@pgq/core'
import type pg from 'pg'
import { Connection } from './connection.js'
import type { ResolvedOptions } from './options.js'

/** How long a statement of pgq's own may wait for a lock, and how long it may take: of a session, or of a transaction alone. */
export function limits(set: 'set' | 'set local'): string {
  return `${set} lock_timeout = '5s'; ${set} statement_timeout = '9s'`
}

/** A claim of at-most-once jobs that a crash of the server forgot would be made again. More than "on" stays what it is. */
export function waitForDisk(set: 'set' | 'set local'): string {
  const isLocal = set === 'set local'
  return `select set_config('synchronous_commit', 'on', ${isLocal}) where current_setting('synchronous_commit') = 'off'`
}

/**
 * Settings of the connections that only pgq's own statements use. Sent by SET, because poolers refuse startup options.
 * Without the planner settings, a statement planned while the table was empty keeps its sequential scan for ever: 104 ms
 * per claim at 300,000 jobs instead of 0.14 ms. A worker that freezes between BEGIN and COMMIT holds its locks for no longer than one
 * whose statement hangs. What is written here waits for the disk, whatever the server's setting, unless the connection's own says otherwise.
 */
const OWN_STATEMENTS = `
  ${waitForDisk('set')};
  set enable_seqscan = off; set enable_bitmapscan = off; set enable_sort = off; set enable_hashjoin = off;
  set enable_mergejoin = off; set jit = off; set plan_cache_mode = force_generic_plan;
  ${limits('set')}; set idle_in_transaction_session_timeout = '9s'`

/** Settings of every connection: isolation pinned, death noticed on both sides of the wire, and left open while nothing happens. */
const ALL_CONNECTIONS = `
  set application_name = 'pgq worker'; set default_transaction_isolation = 'read committed';
  set default_transaction_read_only = off; set idle_session_timeout = 0;
  do $$ begin set client_connection_check_interval = '500ms'; exception when invalid_parameter_value then null; end $$; -- not on Windows
  set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 2; set tcp_user_timeout = '4s'`

/** How long a statement of pgq's own may go unanswered before its connection counts as dead, in ms: longer than the server lets it run. */
export const STATEMENT_DEADLINE_MS = 10_000

/** Opens the worker's connections, each with its settings and its share of the liveness lock. */
export class Session {
  /** Changes when the worker was taken for dead and starts anew. */
  workerId = 0
  /** Whether connections take their share of the liveness lock; false where locks mean nothing. */
  locks = true
  /** Whether a pooler stands in between: a session does not belong to its client then. Undefined before the first connection. */
  isPooled: boolean | undefined
  readonly #connections = new Set<Connection>()
  /** Those that were opened while there was no id. */
  readonly #nameless = new Set<Connection>()

  constructor(private readonly options: ResolvedOptions) {}

  /** A connection for pgq's own statements. */
  open(
    extra: {
      settings?: string
      pipeline?: boolean
      prepare?: (client: pg.Client) => Promise<void>
      onLost?: (error: Error) => void
    } = {},
  ): Connection {
    const config = { ...this.config, pipeline: extra.pipeline }
    const settings = `${OWN_STATEMENTS};${extra.settings ?? ''}`
    return this.#add(config, settings, extra.prepare, extra.onLost, STATEMENT_DEADLINE_MS)
  }

  /** A connection on which handlers run statements of their own: the planner is left as it is, and statements may follow on. */
  openForHandlers(): Connection {
    return this.#add({ ...this.config, pipeline: true }, '', async () => {
      // Its share of the liveness lock is what keeps its transactions from being overtaken.
      if (!this.workerId) throw new Error('This worker was taken for dead and has no new id yet.')
    })
  }

  /** The worker was registered, on this connection: those that were open already take their share of its liveness lock. */
  async registered(workerId: number, on: Connection): Promise<void> {
    this.workerId = workerId
    this.#nameless.delete(on)
    const open = [...this.#nameless]
    this.#nameless.clear()
    // One that cannot begins anew: without a share, nobody could end it if this worker froze.
    const share = (connection: Connection) =>
      connection.use((client) => this.#lock(client)).catch(() => connection.reset())
    await Promise.all(open.map(share))
  }

  /** Drops all clients: the next use of each connection opens a new one. */
  async reset(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.reset()))
  }

  async close(): Promise<void> {
    await Promise.all([...this.#connections].map((connection) => connection.close()))
  }

  /** The options of each client. */
  get config(): pg.ClientConfig {
    return {
      connectionTimeoutMillis: 10_000,
      keepAlive: true,
      keepAliveInitialDelayMillis: 1_000,
      ...this.options.connection,
    }
  }

  #add(
    config: pg.ClientConfig,
    settings: string,
    prepare?: (client: pg.Client) => Promise<void>,
    onLost?: (error: Error) => void,
    deadlineMs?: number,
  ) {
    const connection: Connection = new Connection(
      config,
      async (client) => {
        this.isPooled ??= await isBehindPooler(client)
        // What is set through a pooler would be set for whoever gets that server session next.
        if (!this.isPooled) await client.query(`${ALL_CONNECTIONS};${settings}`)
        if (this.workerId) await this.#lock(client)
        else this.#nameless.add(connection)
        await prepare?.(client)
        return { keepsStatements: !this.isPooled }
      },
      onLost,
      deadlineMs,
    )
    this.#connections.add(connection)
    return connection
  }

  async #lock(client: pg.Client): Promise<void> {
    if (this.locks) await lockLiveness(client, this.options.schema, { workerId: this.workerId })
  }
}

/** A pooler makes up a process id of its own for the client. */
async function isBehindPooler(client: pg.Client): Promise<boolean> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return rows[0]?.pid !== processIdOf(client)
}

/** The server session's process id, as the server, or a pooler, told it. */
export const processIdOf = (client: pg.Client): number => (client as unknown as { processID: number }).processID
