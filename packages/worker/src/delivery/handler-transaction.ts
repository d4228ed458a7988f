import {
  type CompiledQuery,
  type DatabaseConnection,
  DefaultQueryExecutor,
  type Driver,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  SingleConnectionProvider,
  Transaction,
} from 'kysely'
import type pg from 'pg'

/**
 * The worker's open transaction as a Kysely transaction, for the handler. It cannot be committed, rolled back or begun again
 * through it: it ends with the job, and after close() it runs nothing any more.
 */
export function handlerTransaction(client: pg.Client): { trx: Transaction<any>; close(): void } {
  const adapter = new PostgresAdapter()
  const compiler = new PostgresQueryCompiler()
  const connection = new ClientConnection(client)
  const dialect = {
    createAdapter: () => adapter,
    createDriver: () => REFUSING_DRIVER,
    createIntrospector: (db: ConstructorParameters<typeof PostgresIntrospector>[0]) => new PostgresIntrospector(db),
    createQueryCompiler: () => compiler,
  }
  const executor = new DefaultQueryExecutor(compiler, adapter, new SingleConnectionProvider(connection))
  const trx = new Transaction({ config: { dialect }, dialect, driver: REFUSING_DRIVER as never, executor })
  return { trx, close: () => connection.close() }
}

class ClientConnection implements DatabaseConnection {
  #closed = false

  constructor(private readonly client: pg.Client) {}

  close(): void {
    this.#closed = true
  }

  async executeQuery<Row>({ sql, parameters }: CompiledQuery) {
    if (this.#closed) throw new Error('job.trx ended with its job: await every statement before the handler returns.')
    const { command, rowCount, rows } = await this.client.query(sql, [...parameters])
    const changes = command === 'INSERT' || command === 'UPDATE' || command === 'DELETE' || command === 'MERGE'
    return { rows: rows as Row[], ...(changes && { numAffectedRows: BigInt(rowCount ?? 0) }) }
  }

  streamQuery(): never {
    throw new Error('Streaming is not available in job.trx: read in pages.')
  }
}

const refuse = async (): Promise<never> => {
  throw new Error('job.trx begins and ends with the job: return to commit it, throw to roll it back.')
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
