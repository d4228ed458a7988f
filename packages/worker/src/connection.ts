import { setMaxListeners } from 'node:events'
import { PgqError, type PreparingClient, sqlStateOf } from '@pgq/core'
import pg from 'pg'
import { endsWithin } from './delay.js'

/** How long a server may take to answer a goodbye, in ms. */
const GOODBYE_MS = 500

/** How long what has come when a deadline is over may take to be read, in ms. */
const READ_MS = 1_000

/**
 * One connection that opens when it is first used and opens again after it broke. Statements are prepared by name. A
 * statement on a broken connection rejects; whether it took effect is then unknown.
 */
export class Connection implements PreparingClient {
  #client: Promise<pg.Client> | undefined
  readonly #closing = new AbortController()
  /** What was said when a client broke. Later statements on it are told no more than that it is broken. */
  readonly #losses = new WeakMap<pg.Client, Error>()
  #keepsStatements = true
  #openedAt = 0
  #last: Promise<unknown> = Promise.resolve()

  /**
   * prepare runs on each new client, before anything else, and says whether that client keeps prepared statements (a pooler
   * may hand each transaction to another server session). onLost is called when an open client breaks. deadlineMs: a piece of work that
   * takes longer has lost its connection; 0: none does.
   */
  constructor(
    private readonly config: pg.ClientConfig,
    private readonly prepare: (client: pg.Client) => Promise<{ keepsStatements: boolean }>,
    private readonly onLost: (error: Error) => void = () => {},
    private readonly deadlineMs = 0,
  ) {
    setMaxListeners(0, this.closed) // each job that waits for something here may be one
  }

  /** Aborts when the connection is closed for good: nothing on it will succeed any more. */
  get closed(): AbortSignal {
    return this.#closing.signal
  }

  /** When the present client was ready, by performance.now(). */
  get openedAt(): number {
    return this.#openedAt
  }

  async queryPrepared(name: string, sql: string, params: unknown[]): Promise<pg.QueryResult> {
    return this.use((client) => this.on(client).queryPrepared(name, sql, params) as Promise<pg.QueryResult>)
  }

  /** Runs plain SQL, without parameters; several statements may be separated by semicolons. */
  async query(sql: string): Promise<pg.QueryResult> {
    return this.use((client) => client.query(sql))
  }

  /** Statements on this very client, prepared where that is possible. */
  on(client: pg.Client): PreparingClient {
    return {
      queryPrepared: (name, text, values) =>
        client.query(this.#keepsStatements ? { name: statementName(name), text, values } : { text, values }),
    }
  }

  /** The client itself, opened when needed: for whoever needs more than statements. */
  async client(): Promise<pg.Client> {
    if (this.closed.aborted) throw new Error('This connection was closed.')
    if (this.#client) return this.#client
    const opening = this.#open()
    this.#client = opening
    // Unless another one was opened since: that would stay open for ever.
    opening.catch(() => {
      if (this.#client === opening) this.#client = undefined
    })
    return opening
  }

  /** Gives up a client that is of no use any more; the next use opens another. */
  drop(client: pg.Client): void {
    this.#drop(client, new Error('This connection was given up.'))
  }

  /** Why this client broke, if that was said. */
  lossOf(client: pg.Client): Error | undefined {
    return this.#losses.get(client)
  }

  /** Drops the client, if there is one; the next use opens another. */
  async reset(): Promise<void> {
    const client = this.#client
    this.#client = undefined
    await client?.then(end, () => {})
  }

  /** Closes for good. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.reset()
  }

  /** One piece of work after the other: a connection can do no more. In a pipeline, as pg has one, each is sent at once. */
  use<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
    return this.config.pipeline ? this.#run(work) : this.useInTurn(work)
  }

  /** One after the other in a pipeline, too: a transaction of several statements, which another would end. */
  useInTurn<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
    const result = this.#last.then(() => this.#run(work))
    this.#last = result.catch(() => {})
    return result
  }

  async #run<Result>(work: (client: pg.Client) => Promise<Result>): Promise<Result> {
    const client = await this.client()
    try {
      return await this.#inTime(work(client))
    } catch (error) {
      if (breaksConnection(error)) this.#drop(client, error as Error)
      throw error
    }
  }

  /** Not pg's query_timeout: after a block of the event loop, or a freeze, that fires before the answer that has come is read. */
  #inTime<Result>(work: Promise<Result>): Promise<Result> {
    if (this.deadlineMs === 0) return work
    return new Promise((resolve, reject) => {
      const giveUp = () => reject(new Error('Query read timeout'))
      const readFirst = () => {
        timer = setTimeout(giveUp, READ_MS).unref()
      }
      let timer = setTimeout(() => setImmediate(readFirst), this.deadlineMs)
      work.then(resolve, reject).finally(() => clearTimeout(timer))
    })
  }

  async #open(): Promise<pg.Client> {
    const client = new pg.Client(this.config)
    // A client emits its error also when nobody waits for it; without a listener that would end the process.
    client.on('error', (error) => {
      if (!this.#losses.has(client)) this.#losses.set(client, error)
      this.#drop(client, error)
    })
    client.on('end', () => this.#drop(client, new Error('The server closed the connection.')))
    const giveUp = () => client.connection.stream.destroy()
    this.closed.addEventListener('abort', giveUp)
    try {
      await client.connect()
      this.#keepsStatements = (await this.#inTime(this.prepare(client))).keepsStatements
      this.#openedAt = performance.now()
      return client
    } catch (error) {
      void end(client)
      throw error
    } finally {
      this.closed.removeEventListener('abort', giveUp)
    }
  }

  #drop(client: pg.Client, error: Error): void {
    void this.#client?.then(
      (current) => {
        if (current !== client) return
        this.#client = undefined
        void end(client)
        this.onLost(error)
      },
      () => {},
    )
  }
}

/** Says goodbye; a server that does not answer, because the network is gone, is left without. */
async function end(client: pg.Client): Promise<void> {
  await endsWithin(GOODBYE_MS, client.end())
  client.connection.stream.destroy()
}

// PostgreSQL cuts names at 63 bytes; the schema in front may take 48 of them.
const statementName = (name: string): string => name.slice(-63)

/** True when the client cannot be used any more: no SQLSTATE (a socket or time-out error), or one that ends the session. */
export function breaksConnection(error: unknown): boolean {
  const state = sqlStateOf(error)
  // 08: connection exceptions; 57P: shutdown, crash, terminated; 25006: a stale primary that became read-only.
  return state === undefined || /^(08|57P)/.test(state) || state === '25006'
}

/** Whether a statement took longer than statement_timeout, or was ended by somebody: with less to do it may go through. */
export const isCancelled = (error: unknown): boolean => sqlStateOf(error) === '57014'

/** What start() says of a server that it could not reach: pg's own error may have no text at all. Other errors stay as they are. */
export function explainUnreachable(cause: unknown, config: pg.ClientConfig): unknown {
  const { code, message } = cause as { code?: unknown; message?: string }
  if (cause instanceof PgqError || !breaksConnection(cause)) return cause
  const { host, port } = new pg.Client(config)
  const why = message || code
  const error = new Error(
    `Cannot connect to PostgreSQL at ${host}:${port}: ${why}. Check connectionString, and that the server runs.`,
    { cause },
  )
  return Object.assign(error, code !== undefined && { code })
}
