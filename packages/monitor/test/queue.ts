import { type ClaimRequest, claimIntoLease, enqueueMany, registerWorker } from '@pgq/core'
import type { TestDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll } from 'vitest'

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
    async claim(workerId: number, limit: number, { queue = 'default', transactional = false } = {}) {
      const number = ++leases
      const request = { ...everything(workerId, limit, queue), number, transactional }
      const jobs = await claimIntoLease(pool, 'pgq', request)
      return { number, jobs, ids: jobs.map(({ id }) => id) }
    },
    /** The database's clock. */
    now: async (): Promise<Date> => (await pool.query('select clock_timestamp() as now')).rows[0].now,
    /** One value of one row of a table. */
    async stored<T>(sql: string, params: unknown[] = []): Promise<T> {
      return Object.values((await pool.query(sql, params)).rows[0])[0] as T
    },
  }
}
