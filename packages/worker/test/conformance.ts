import { type Delivery, describeDelivery, type OpenOptions, type UnfinishedJob } from '@pgq/conformance'
import { type DeliveryModeName, enqueue } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { createWorker, type Worker } from '@pgq/worker'
import pg from 'pg'
import { afterAll, beforeEach } from 'vitest'

/** All that handlers of a mode may rely on. Each mode has a file of its own: they take long, and run beside each other. */
export async function describeMode(mode: DeliveryModeName): Promise<void> {
  const database = await testDatabase()
  const pool = new pg.Pool({ connectionString: database.url })
  afterAll(() => pool.end())
  beforeEach(() => database.truncate())
  describeDelivery(mode, { mode, open: (options) => open(pool, database.url, options) })
}

async function open(pool: pg.Pool, connectionString: string, options: OpenOptions): Promise<Delivery> {
  const start = () => createWorker({ connectionString, concurrency: 1, handleSignals: false, ...options })
  const worker = start()
  const settled = countSettled(worker)
  await worker.start()
  return {
    target: pool,
    now: Date.now,
    settled,
    unfinished: () => unfinished(pool),
    reportedUnknown: async (task) => {
      await enqueue(pool, task)
      // A worker looks for such jobs when it starts.
      const late = start()
      const reported = new Promise<readonly string[]>((resolve) => {
        late.on('tasks.unknown', ({ tasks }) => resolve(tasks))
      })
      await late.start()
      return reported.finally(() => late.stop())
    },
    [Symbol.asyncDispose]: () => worker.stop(),
  }
}

function countSettled(worker: Worker): (runs: number) => Promise<void> {
  let count = 0
  let wake = () => {}
  worker.on('job.settled', () => {
    count += 1
    wake()
  })
  return async (runs) => {
    while (count < runs) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
    if (count > runs) throw new Error(`${count} runs were settled, expected ${runs}.`)
  }
}

async function unfinished(pool: pg.Pool): Promise<UnfinishedJob[]> {
  const { rows } = await pool.query(`
    select id::text, task, case when execute_at is null then 'waiting' else 'scheduled' end as state, null as reason,
      attempt as attempts, coalesce(errors, '[]') as errors,
      coalesce(extract(epoch from execute_at - now()) * 1000, 0)::double precision as "dueInMs"
    from pgq.jobs
    union all
    select id::text, task, 'dead', reason, attempt, coalesce(errors, '[]'), 0 from pgq.dead_jobs
    order by 1`)
  return rows
}
