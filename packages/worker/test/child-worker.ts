// A worker as a program: for tests that kill it, freeze it, or send it signals.
import { setTimeout as sleep } from 'node:timers/promises'
import { type DeliveryModeName, defineTask, type LeasedJob, typed } from '@pgq/core'
import { sql } from 'kysely'
import pg from 'pg'
import { createWorker, type WorkerEvents, type WorkerOptions } from '../src/index.js'

export interface ChildOptions {
  readonly url: string
  readonly modes: readonly DeliveryModeName[]
  /** How long each handler runs. */
  readonly runMs?: number
  /** How long each handler blocks the event loop. */
  readonly blockMs?: number
  /** Whether handlers end when their signal aborts. Default true. */
  readonly heeds?: boolean
  /** Events to tell the parent. */
  readonly tell?: readonly (keyof WorkerEvents)[]
  readonly worker?: Partial<WorkerOptions>
}

const {
  url,
  modes,
  runMs = 0,
  blockMs = 0,
  heeds = true,
  tell = [],
  worker: options,
}: ChildOptions = JSON.parse(process.argv[2]!)
const pool = new pg.Pool({ connectionString: url, max: 4, allowExitOnIdle: true })
pool.on('error', () => {})
pool.on('connect', (client) => void client.on('error', () => {})) // also while it is checked out

/** Notes that the run began, and waits as long as a handler of this test takes. */
async function began(n: number, job: { attempt: number; crashCount: number; signal: AbortSignal }): Promise<void> {
  await pool.query('insert into runs values ($1, $2, $3, $4)', [n, process.pid, job.attempt, job.crashCount])
  process.send?.(['run', { n }])
  // Only when the note of it is on its way.
  if (blockMs > 0) await sleep(50)
  for (const end = Date.now() + blockMs; Date.now() < end; );
  if (runMs > 0) await sleep(runMs, undefined, heeds ? { signal: job.signal } : {})
}

const handlers = {
  'at-least-once': async (n: number, job: LeasedJob) => {
    await began(n, job)
    const client = await pool.connect()
    try {
      await client.query('begin')
      await client.query('insert into effects values ($1)', [n])
      await job.finish(client)
      await client.query('commit')
    } catch (error) {
      await client.query('rollback')
      throw error
    } finally {
      client.release()
    }
  },
  'at-most-once': async (n: number, job: any) => {
    await began(n, job)
    await pool.query('insert into effects values ($1)', [n])
  },
  transactional: async (n: number, job: any) => {
    await began(n, job)
    await sql`insert into effects values (${n})`.execute(job.trx)
  },
}

const worker = createWorker({
  connectionString: url,
  handlers: modes.map((mode) => defineTask(mode, { mode, args: typed<number>() }).handle(handlers[mode] as never)),
  ...options,
})
for (const event of tell) worker.on(event, (fields) => process.send?.([event, JSON.parse(JSON.stringify(fields))]))
worker.on('worker.stopped', async () => {
  await pool.end()
  // Closing takes the event loop some turns; the channel to the parent and the streams are not the worker's.
  await sleep(100)
  setImmediate(() => {
    process.send?.(['resources', process.getActiveResourcesInfo().filter((name) => name !== 'PipeWrap')])
  })
})
await worker.start()
process.send?.(['ready', { id: worker.id }])
