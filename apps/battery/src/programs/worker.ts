// A worker as a program, for tests that kill it, freeze it, or send it signals. Its one argument is WorkerProgram as JSON.
import { setTimeout as sleep } from 'node:timers/promises'
import { type DeliveryModeName, defineTask, type Handler, type Job, type LeasedJob, retryAfter, typed } from '@pgq/core'
import { createWorker, type WorkerEvents, type WorkerOptions } from '@pgq/worker'
import { sql } from 'kysely'
import pg from 'pg'
import { writeHistory } from '../history.js'

export interface WorkerProgram {
  /** Where the worker connects. */
  readonly url: string
  /** Where handlers connect by themselves; default: url. */
  readonly handlerUrl?: string
  /** Connections of the handlers' own pool. Default 4. */
  readonly poolSize?: number
  readonly history: string
  readonly tasks: readonly TaskName[]
  /** Events to tell the parent. */
  readonly tell?: readonly (keyof WorkerEvents)[]
  readonly options?: Partial<WorkerOptions>
}

export type TaskName = 'plain' | 'finish' | 'transactional' | 'once'

/** Args of a job. */
export interface Work {
  readonly n: number
  /** How long the handler runs. */
  readonly ms?: number
  /** Ballast. */
  readonly pad?: string
  /** How the handler takes its worker down, or else misbehaves. */
  readonly deed?:
    | 'kill'
    | 'kill-after-commit'
    | 'exhaust-memory'
    | 'block'
    | 'sleep-in-sql'
    | 'ignore-abort'
    | 'swallow-sql-error'
    | 'retry-later'
}

const program: WorkerProgram = JSON.parse(process.argv[2]!)
const history = writeHistory(program.history)
const pool = new pg.Pool({
  connectionString: program.handlerUrl ?? program.url,
  max: program.poolSize ?? 4,
  allowExitOnIdle: true,
})
pool.on('error', () => {})
pool.on('connect', (client) => client.on('error', () => {}))

async function act({ n, ms = 0, deed }: Work, job: Job): Promise<void> {
  process.send?.(['run', { n, task: job.task, attempt: job.attempt }])
  if (deed === 'kill') die()
  if (deed === 'retry-later') {
    if (job.attempt === 1) throw retryAfter(ms)
    return
  }
  if (deed === 'exhaust-memory') for (const hoard: number[][] = []; ; ) hoard.push(new Array(100_000).fill(n))
  if (deed === 'block') for (const end = Date.now() + ms; Date.now() < end; );
  else if (ms > 0) await sleep(ms, undefined, deed === 'ignore-abort' ? {} : { signal: job.signal })
}

function die(): void {
  history.note({ kind: 'killed', victim: process.pid })
  process.kill(process.pid, 'SIGKILL')
}

const effect = 'insert into effects (task, n, pid, attempt, crashes) values ($1, $2, $3, $4, $5)'
const row = (work: Work, job: Job) => [job.task, work.n, process.pid, job.attempt, job.crashCount]

/** Writes with the pool, on one client, all or nothing. careless: takes a COMMIT that was answered by ROLLBACK for success. */
async function inTransaction(work: (client: pg.PoolClient) => Promise<void>, careless = false): Promise<void> {
  const client = await pool.connect()
  let broken = false
  try {
    await client.query('begin')
    await work(client)
    const { command } = await client.query('commit')
    if (command !== 'COMMIT' && !careless) throw new Error(`commit answered ${command}`)
  } catch (error) {
    await client.query('rollback').catch(() => {
      broken = true
    })
    throw error
  } finally {
    client.release(broken)
  }
}

const tasks: Record<TaskName, { mode: DeliveryModeName; run(work: Work, job: any): Promise<void> }> = {
  plain: {
    mode: 'at-least-once',
    run: async (work, job) => {
      await act(work, job)
      await pool.query(effect, row(work, job))
    },
  },
  finish: {
    mode: 'at-least-once',
    run: async (work, job: LeasedJob) => {
      await act(work, job)
      const swallow = work.deed === 'swallow-sql-error' && job.attempt === 1
      await inTransaction(async (client) => {
        await client.query(effect, row(work, job))
        await job.finish(client)
        if (swallow) await client.query('select 1 / 0').catch(() => {})
      }, swallow)
      if (work.deed === 'kill-after-commit') die()
    },
  },
  transactional: {
    mode: 'transactional',
    run: async (work, job) => {
      if (work.deed === 'sleep-in-sql') await sql`select pg_sleep(${work.ms! / 1_000})`.execute(job.trx)
      else await act(work, job)
      await sql`insert into effects (task, n, pid, attempt, crashes) values (${sql.join(row(work, job))})`.execute(
        job.trx,
      )
      if (work.deed === 'swallow-sql-error' && job.attempt === 1)
        await sql`select 1 / 0`.execute(job.trx).catch(() => {})
    },
  },
  once: {
    mode: 'at-most-once',
    run: async (work, job) => {
      await act(work, job)
      await pool.query(effect, row(work, job))
    },
  },
}

function handlerOf(task: TaskName): Handler {
  const { mode, run } = tasks[task]
  // Retries come quickly and do not end: a test that outlasts an outage is not one about giving up.
  const retry = mode === 'at-most-once' ? {} : { retry: { maxAttempts: 10_000, minDelayMs: 20, maxDelayMs: 500 } }
  return defineTask(task, { mode, args: typed<Work>(), ...retry } as never).handle((async (work: Work, job: Job) => {
    const { n } = work
    history.note({ kind: 'started', task, n, attempt: job.attempt, crashes: job.crashCount })
    try {
      await run(work, job)
      history.note({ kind: 'finished', task, n })
    } catch (error) {
      history.note({ kind: 'failed', task, n, why: error instanceof Error ? error.message : String(error) })
      throw error
    }
  }) as never)
}

const worker = createWorker({
  connectionString: program.url,
  handlers: program.tasks.map(handlerOf),
  ...program.options,
})
for (const event of program.tell ?? []) {
  worker.on(event, (fields) => process.send?.([event, JSON.parse(JSON.stringify(fields))]))
}
process.on('message', (message) => {
  if (message !== 'memory') return
  globalThis.gc?.()
  process.send?.(['memory', process.memoryUsage()])
})
process.on('disconnect', () => process.exit(1))
await worker.start()
process.send?.(['ready', { id: worker.id }])
// The channel to the parent alone shall not keep a stopped worker's process alive.
process.channel?.unref()
