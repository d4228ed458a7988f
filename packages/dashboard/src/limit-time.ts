import { InvalidOptionError, type SqlClient, shown } from '@pgq/core'

/** A pool of pg. */
interface Pool {
  connect(): Promise<{
    query(sql: string, params?: unknown[]): Promise<{ rows: any[] }>
    release(destroy?: boolean): void
    on(event: 'error', listener: () => void): unknown
    off(event: 'error', listener: () => void): unknown
  }>
}

/**
 * The pool as an executor that ends each statement after so many ms, on the server, also through PgBouncer. In a transaction of its
 * own, since its settings end with it: a pooler refuses a timeout among the options of a connection, and what is set for a session
 * there stays with whoever gets it next. Throws InvalidOptionError for ms that are no whole number over 0.
 */
export function limitTime(pool: Pool, timeoutMs: number): SqlClient {
  if (!(Number.isInteger(timeoutMs) && timeoutMs > 0 && timeoutMs < 2 ** 31)) {
    throw new InvalidOptionError(`limitTime: timeoutMs is ${shown(timeoutMs)}; use a whole number over 0.`)
  }
  const begin = `begin; set local statement_timeout = ${timeoutMs}; set local jit = off`
  return {
    async query(sql, params) {
      const client = await pool.connect()
      client.on('error', heard)
      try {
        await client.query(begin)
        const result = await client.query(sql, params)
        await client.query('commit')
        client.off('error', heard)
        client.release()
        return result
      } catch (error) {
        // Closing the connection rolls back, and works on a broken one, too.
        client.release(true)
        throw error
      }
    },
  }
}

/** A connection that is lost while it is out of its pool says so by an event, too, which nobody else listens to. */
const heard = (): void => {}
