import { claimIntoLease, enqueueMany, registerWorker } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, afterEach } from 'vitest'

export const QUEUE = 'mail'

/** A migrated database for this test file, emptied after each test, with a pool for what a test does itself. */
export async function testQueue() {
  const { url, truncate } = await testDatabase()
  const pool = new pg.Pool({ connectionString: url })
  afterEach(() => truncate())
  afterAll(() => pool.end())
  return { url, env: { DATABASE_URL: url }, pool }
}

/** Enqueues that many, each with its number as its args. */
export const enqueue = (pool: pg.Pool, count: number, options: object = {}) =>
  enqueueMany(
    pool,
    'send',
    Array.from({ length: count }, (_, index) => ({ args: { number: index + 1 }, queue: QUEUE, ...options })),
  )

/** Makes that many dead letters, fast. */
export const bury = (pool: pg.Pool, count: number, error = { name: 'Error', message: 'no such address' }) =>
  pool.query(
    `insert into pgq.dead_jobs (id, created_at, priority, attempt, reason, queue, task, args, errors)
     select nextval(pg_get_serial_sequence('pgq.jobs', 'id')), now(), 0, 8, 'failed', $1, 'send', '{"number": 1}', $2
     from generate_series(1, $3)`,
    [QUEUE, JSON.stringify([{ attempt: 8, at: '2026-01-02T03:04:05.678Z', ...error }]), count],
  )

/** A worker that holds one job, and lives for as long as its client. Answers the job's id. */
export async function holdJob(client: pg.Client): Promise<string> {
  const workerId = await registerWorker(client, 'pgq', { hostname: 'here', pid: 7, queues: [QUEUE], tasks: ['send'] })
  const request = {
    workerId,
    queues: [QUEUE],
    after: [String(-(2n ** 63n))],
    upto: [String(2n ** 63n - 1n)],
    tasks: ['send'],
    maxBytes: 1e9,
  }
  const [job] = await claimIntoLease(client, 'pgq', { ...request, number: 1, limit: 1 })
  return job!.id
}
