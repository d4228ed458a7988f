import { type Executor, type PreparingClient, sqlStateOf } from './executor.js'

/** A pg Pool, as far as it is used here. */
interface PoolLike {
  readonly totalCount: number
  connect(): Promise<ClientLike>
}

interface ClientLike {
  /** The server process, as the server or a pooler told it. */
  readonly processID?: number | null
  query(query: object): Promise<{ rows: any[] }>
  on(event: 'error', listener: () => void): unknown
  off(event: 'error', listener: () => void): unknown
  release(error?: unknown): void
}

/**
 * The executor with its statements kept by name where that is safe: a pg Pool whose connections lead straight to the server. The
 * server parses and plans a statement that comes as text each time anew: a quarter of what an enqueue cost it.
 * A pooler may hand each transaction to another server session; it shows by the process id, which it makes up. Clients and
 * transactions are the caller's: a statement that somebody deallocated would end the transaction.
 */
export function prepared(executor: Executor): Executor {
  if (!isPool(executor)) return executor
  const known = pools.get(executor) ?? { queryPrepared: (name, sql, params) => queryPool(executor, name, sql, params) }
  pools.set(executor, known)
  return known
}

/** Each of its statements is a transaction of its own. */
export const isPool = (executor: object): executor is PoolLike =>
  'totalCount' in executor && typeof (executor as Partial<PoolLike>).connect === 'function'

const pools = new WeakMap<object, PreparingClient>()

/** Whether statements by name may be used on this client. */
const keepsStatements = new WeakMap<ClientLike, boolean>()

async function queryPool(pool: PoolLike, name: string, text: string, values: unknown[]): Promise<{ rows: any[] }> {
  const client = await pool.connect()
  client.on('error', ignore) // the query fails, too
  let failure: unknown
  try {
    if (!keepsStatements.has(client)) {
      const { rows } = await client.query({ text: 'select pg_backend_pid() as pid' })
      keepsStatements.set(client, rows[0]?.pid === client.processID)
    }
    if (!keepsStatements.get(client)) return await client.query({ text, values })
    return await client.query({ name, text, values }).catch((error) => {
      if (sqlStateOf(error) !== STATEMENT_UNKNOWN) throw error
      keepsStatements.set(client, false)
      return client.query({ text, values })
    })
  } catch (error) {
    failure = error
    throw error
  } finally {
    client.off('error', ignore)
    client.release(failure)
  }
}

const ignore = () => {}

// Somebody said DEALLOCATE or DISCARD ALL on this connection.
const STATEMENT_UNKNOWN = '26000'
