import pg from 'pg'
import { parentCalled, treeCpuUs } from './cpu-time.js'

/** What a server has used so far. Undefined: it cannot be told here. */
export interface Reading {
  readonly serverCpuUs: number | undefined
  readonly walBytes: number | undefined
  readonly statements: number | undefined
}

/** Reads what the PostgreSQL server of one database uses, from a connection to another one. */
export class Meter {
  readonly #client: pg.Client
  #serverPid: number | undefined
  #statements = false

  constructor(
    private readonly adminUrl: string,
    private readonly database: string,
    private readonly redisPid: number | undefined,
  ) {
    this.#client = new pg.Client(adminUrl)
    this.#client.on('error', () => {})
  }

  async open(): Promise<void> {
    await this.#client.connect()
    const { rows } = await this.#client.query('select pg_backend_pid() as pid')
    const isHere = /^(127\.|localhost$|\[?::1)/.test(new URL(this.adminUrl).hostname)
    this.#serverPid = this.redisPid ?? (isHere ? parentCalled('postgres', rows[0].pid) : undefined)
    this.#statements = await this.#client
      .query('create extension if not exists pg_stat_statements')
      .then(
        () => this.#client.query('select from pg_stat_statements limit 1').then(() => true),
        () => false,
      )
      .catch(() => false)
  }

  async read(): Promise<Reading> {
    const serverCpuUs = this.#serverPid === undefined ? undefined : treeCpuUs(this.#serverPid)
    if (this.redisPid !== undefined) return { serverCpuUs, walBytes: undefined, statements: undefined }
    const { rows } = await this.#client.query(
      `select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8 as wal`,
    )
    return { serverCpuUs, walBytes: rows[0].wal, statements: await this.calls('%') }
  }

  /** How often statements like this were run in the database, the bench's own excepted. */
  async calls(pattern: string): Promise<number | undefined> {
    if (!this.#statements) return undefined
    const { rows } = await this.#client.query(
      `select coalesce(sum(calls), 0)::float8 as calls
       from pg_stat_statements join pg_database on pg_database.oid = dbid
       where datname = $1 and query ilike $2 and query not like '/* bench */%'`,
      [this.database, pattern],
    )
    return rows[0].calls
  }

  async close(): Promise<void> {
    await this.#client.end()
  }
}
