import { InvalidOptionError } from '@pgq/core'
import {
  type CompiledQuery,
  type DatabaseConnection,
  DefaultQueryExecutor,
  type Driver,
  type Kysely,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  SingleConnectionProvider,
  Transaction,
} from 'kysely'
import type pg from 'pg'

/** Runs one statement of the handler. */
export type Send = (text: string, values: unknown[]) => Promise<pg.QueryResult>

/**
 * The worker's transaction as a Kysely transaction, for the handler. It cannot be committed, rolled back or begun again
 * through it: it ends with the job, and after close() it runs nothing any more.
 */
export class HandlerTransaction {
  readonly trx: Transaction<any>
  readonly #connection: HandlerConnection

  constructor(send: Send) {
    this.#connection = new HandlerConnection(send)
    const executor = new DefaultQueryExecutor(compiler, adapter, new SingleConnectionProvider(this.#connection))
    this.trx = new Transaction({ config: { dialect }, dialect, driver: REFUSING_DRIVER as never, executor })
  }

  close(): void {
    this.#connection.closed = true
  }
}

class HandlerConnection implements DatabaseConnection {
  closed = false

  constructor(private readonly send: Send) {}

  async executeQuery<Row>({ sql, parameters }: CompiledQuery) {
    if (this.closed)
      throw new InvalidOptionError('job.trx ended with its job: await every statement before the handler returns.')
    if (ENDS_TRANSACTION.test(sql)) throw new InvalidOptionError(NOT_YOURS)
    const { command, rowCount, rows } = await this.send(sql, [...parameters])
    const changes = command === 'INSERT' || command === 'UPDATE' || command === 'DELETE' || command === 'MERGE'
    return { rows: rows as Row[], ...(changes && { numAffectedRows: BigInt(rowCount ?? 0) }) }
  }

  streamQuery(): never {
    throw new InvalidOptionError('Streaming is not available in job.trx: read in pages.')
  }
}

/** As text: it would end the transaction of all handlers that share it. A savepoint is the handler's own. */
const ENDS_TRANSACTION =
  /^\s*(?:begin|start\s+transaction|commit|end|abort|prepare\s+transaction|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b/i

const NOT_YOURS = 'job.trx begins and ends with the job: return to commit it, throw to roll it back.'

const refuse = async (): Promise<never> => {
  throw new InvalidOptionError(NOT_YOURS)
}

const REFUSING_DRIVER: Driver = {
  init: refuse,
  acquireConnection: refuse,
  beginTransaction: refuse,
  commitTransaction: refuse,
  rollbackTransaction: refuse,
  releaseConnection: refuse,
  destroy: refuse,
}

const adapter = new PostgresAdapter()
const compiler = new PostgresQueryCompiler()
const dialect = {
  createAdapter: () => adapter,
  createDriver: () => REFUSING_DRIVER,
  createIntrospector: (db: Kysely<any>) => new PostgresIntrospector(db),
  createQueryCompiler: () => compiler,
}
