import { type ClaimRequest, claimAndDelete, claimIntoLease, enqueueMany, noteHolding, registerWorker } from '@pgq/core'
import type { TestDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, afterEach } from 'vitest'

/** A claim of whatever is ready, up to `limit`. */
export const everything = (workerId: number, limit: number, queue = 'default'): ClaimRequest => ({
  workerId,
  queues: [queue],
  after: [String(-(2n ** 63n))],
  upto: [String(2n ** 63n - 1n)],
  tasks: ['mail', 'bill'],
  limit,
  maxBytes: 1e9,
})

/** A pool for this test file, and what a test needs to bring jobs into every state. */
export function openQueue(database: Pick<TestDatabase, 'url'>) {
  const pool = new pg.Pool({ connectionString: database.url })
  const open = new Set<pg.PoolClient>()
  // A test that failed halfway must not leave its locks to the next one.
  afterEach(() => {
    for (const client of open) client.release(true)
    open.clear()
  })
  afterAll(() => pool.end())
  let workers = 0
  let leases = 0
  return {
    pool,
    /** Enqueues one job and answers its id. */
    async enqueue(
      task: 'mail' | 'bill',
      job: { args?: unknown; queue?: string; priority?: number; delayMs?: number } = {},
    ) {
      const [result] = await enqueueMany(pool, task, [job])
      return result!.id
    },
    /** Registers a worker; its pid tells it from the others. */
    worker: (queues: readonly string[] = ['default']) =>
      registerWorker(pool, 'pgq', { hostname: 'host', pid: ++workers, queues, tasks: ['mail', 'bill'], locks: false }),
    /** Claims into a new lease. */
    async claim(workerId: number, limit: number, queue?: string) {
      const number = ++leases
      const jobs = await claimIntoLease(pool, 'pgq', { ...everything(workerId, limit, queue), number })
      return { number, jobs, ids: jobs.map(({ id }) => id) }
    },
    /** Claims as the transactional mode does: noted, and deleted in a transaction that is open until `end`. */
    async hold(workerId: number, limit: number, { savepoint = false } = {}) {
      const client = await pool.connect()
      open.add(client)
      await client.query(savepoint ? 'begin; savepoint handler' : 'begin')
      const jobs = await claimAndDelete(client, 'pgq', everything(workerId, limit))
      const ids = jobs.map(({ id }) => id)
      await noteHolding(pool, 'pgq', { workerId, jobIds: ids })
      const { rows } = await client.query(
        'select pg_backend_pid() as pid, xact_start from pg_stat_activity where pid = pg_backend_pid()',
      )
      return {
        ids,
        backendPid: rows[0].pid as number,
        since: rows[0].xact_start as Date,
        async end(how: 'commit' | 'rollback' = 'rollback') {
          open.delete(client)
          await client.query(how)
          client.release()
        },
      }
    },
    /** The database's clock. */
    now: async (): Promise<Date> => (await pool.query('select clock_timestamp() as now')).rows[0].now,
    /** One value of one row of a table. */
    async stored<T>(sql: string, params: unknown[] = []): Promise<T> {
      return Object.values((await pool.query(sql, params)).rows[0])[0] as T
    },
  }
}
