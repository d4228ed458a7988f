import { type TestDatabase, testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeEach } from 'vitest'
import {
  type ClaimedJob,
  type ClaimRequest,
  claimIntoLease,
  type Executor,
  enqueueMany,
  type JobInput,
  registerWorker,
  type SqlClient,
} from '../src/index.js'

export interface QueueDatabase extends TestDatabase {
  readonly pool: pg.Pool
  /** The rows of a query of the test's own. */
  rows<Row = any>(sql: string, params?: unknown[]): Promise<Row[]>
  /** A connection of its own, closed after the test file. */
  connect(): Promise<pg.Client>
}

/** A migrated database for this file, empty before each test. */
export async function queueDatabase(): Promise<QueueDatabase> {
  const database = await testDatabase()
  const pool = new pg.Pool({ connectionString: database.url, max: 12 })
  const clients: pg.Client[] = []
  pool.on('error', () => {})
  afterAll(async () => {
    await Promise.all(clients.map((client) => client.end().catch(() => {})))
    await pool.end()
  })
  let nextWorkerId = 1
  beforeEach(async () => {
    await database.truncate()
    // Not again from 1: pooled connections keep the liveness locks of earlier tests' workers.
    nextWorkerId += 1_000
    await pool.query(`alter table pgq.workers alter column id restart with ${nextWorkerId}`)
  })
  return {
    ...database,
    pool,
    rows: async (sql, params) => (await pool.query(sql, params)).rows,
    async connect() {
      const client = new pg.Client(database.url)
      clients.push(client)
      client.on('error', () => {})
      await client.connect()
      return client
    },
  }
}

/** Everything that is ready, over all priorities. */
export const EVERYTHING = { after: ['-9223372036854775808'], upto: ['9223372036854775807'] }

/** A claim of the default queue by this worker; 'work' is the task. */
export const claimRequest = (workerId: number, request: Partial<ClaimRequest> = {}): ClaimRequest => ({
  workerId,
  queues: ['default'],
  ...EVERYTHING,
  tasks: ['work'],
  limit: 100,
  maxBytes: 1_000_000_000,
  ...request,
})

export const newWorker = (executor: Executor, queues = ['default'], schema = 'pgq'): Promise<number> =>
  registerWorker(executor, schema, { hostname: 'here', pid: process.pid, queues, tasks: ['work'] })

/** Enqueues jobs of the task 'work' and claims them into lease number 1 of a new worker. */
export async function leaseJobs(
  executor: Executor,
  jobs: readonly Partial<JobInput<unknown>>[],
): Promise<{ workerId: number; jobs: ClaimedJob[] }> {
  await enqueueMany(executor, 'work', jobs)
  const workerId = await newWorker(executor)
  return { workerId, jobs: await claimIntoLease(executor, 'pgq', { ...claimRequest(workerId), number: 1 }) }
}

/** Runs the work on one connection, between BEGIN and what it is to end with. */
export async function inTransaction(
  pool: pg.Pool,
  end: 'commit' | 'rollback',
  work: (client: pg.PoolClient) => Promise<unknown>,
): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    await work(client)
    await client.query(end)
  } catch (error) {
    await client.query('rollback') // or the next test waits for its locks until the pool closes it
    throw error
  } finally {
    client.release()
  }
}

/** An executor that counts its statements. */
export function counting(client: SqlClient): SqlClient & { statements: number } {
  return {
    statements: 0,
    query(sql, params) {
      this.statements++
      return client.query(sql, params)
    },
  }
}
