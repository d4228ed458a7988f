import { type DeliveryModeName, defineTask, type Handler, type TaskOptions } from '@pgq/core'
import { type TestDatabase, testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, onTestFinished } from 'vitest'
import { createWorker, type Worker, type WorkerEvents, type WorkerOptions } from '../src/index.js'

export interface Queue extends TestDatabase {
  readonly pool: pg.Pool
  rows<Row = any>(sql: string, params?: unknown[]): Promise<Row[]>
  /** The first column of the first row. */
  value<Value = any>(sql: string, params?: unknown[]): Promise<Value>
  /** A started worker on this database; stopped after the test. */
  worker(handlers: readonly Handler[], options?: Partial<WorkerOptions>): Promise<Worker>
  /** The same, not started. */
  idleWorker(handlers: readonly Handler[], options?: Partial<WorkerOptions>): Worker
  /** Resolves when every job has left the queue and the leases. */
  empty(ms?: number): Promise<void>
  /** Runs SQL in a transaction that stays open, with its locks, until the answer is called or the test ends. */
  hold(sql: string): Promise<() => Promise<void>>
  /** Resolves when so many statements wait for a lock. */
  blocked(statements?: number): Promise<void>
  /** How many connections workers have to this database. */
  workerConnections(): Promise<number>
}

/** A migrated database with the tables that handlers of these tests write to, empty before each test. */
export async function queue(database?: TestDatabase): Promise<Queue> {
  return queueOn(database ?? (await testDatabase()))
}

function queueOn(database: TestDatabase): Queue {
  const pool = new pg.Pool({ connectionString: database.url, max: 8 })
  pool.on('error', () => {})
  pool.on('connect', (client) => void client.on('error', () => {})) // also while it is checked out
  beforeAll(() => pool.query(TABLES))
  afterAll(() => pool.end())
  beforeEach(async () => {
    await database.truncate()
    await pool.query('truncate runs, effects')
  })
  const rows = async (sql: string, params?: unknown[]) => (await pool.query(sql, params)).rows
  const value = async (sql: string, params?: unknown[]) => Object.values((await rows(sql, params))[0] ?? {})[0] as any
  const idleWorker: Queue['idleWorker'] = (handlers, options) => {
    const worker = createWorker({
      handlers,
      handleSignals: false,
      graceMs: 1_000,
      ...(!options?.connection && { connectionString: database.url }),
      ...options,
    })
    onTestFinished(() => worker.stop(), 20_000)
    return worker
  }
  return {
    ...database,
    pool,
    rows,
    value,
    idleWorker,
    worker: async (handlers, options) => {
      const worker = idleWorker(handlers, options)
      await worker.start()
      return worker
    },
    empty: (ms) => until(async () => (await value(WAITING)) === 0, ms),
    hold: async (sql) => {
      const client = await pool.connect()
      await client.query(`begin; ${sql}`)
      let isHeld = true
      const letGo = async () => {
        if (!isHeld) return
        isHeld = false
        await client.query('commit')
        client.release()
      }
      // Also when the test fails: what comes after it would wait for these locks.
      onTestFinished(letGo)
      return letGo
    },
    blocked: (statements = 1) => until(async () => (await value(BLOCKED)) >= statements),
    workerConnections: () => value(CONNECTIONS),
  }
}

const BLOCKED = `select count(*)::integer from pg_stat_activity
  where datname = current_database() and wait_event_type = 'Lock'`
const CONNECTIONS = `select count(*)::integer from pg_stat_activity
  where datname = current_database() and application_name = 'pgq worker'`

const TABLES = `
  create table runs (n integer, pid integer, attempt integer, crash_count integer, at timestamptz default clock_timestamp());
  create table effects (n integer)`

const WAITING = `select (
  (select count(*) from pgq.jobs) + (select coalesce(sum(cardinality(ids)), 0) from pgq.leases))::integer`

/** Resolves when the condition holds; throws after ms. */
export async function until(condition: () => unknown, ms = 30_000): Promise<void> {
  for (const deadline = Date.now() + ms; !(await condition()); ) {
    if (Date.now() > deadline) throw new Error(`Not so after ${ms} ms: ${condition}`)
    await pause(10)
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** A promise and how to keep it. */
export function gate<Value = void>(): { opened: Promise<Value>; open: (value: Value) => void } {
  let open!: (value: Value) => void
  const opened = new Promise<Value>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** The next such event. */
export const next = <Name extends keyof WorkerEvents>(worker: Worker, name: Name): Promise<WorkerEvents[Name]> =>
  new Promise((resolve) => {
    const forget = worker.on(name, (event) => {
      forget()
      resolve(event)
    })
  })

/** Every such event from now on. */
export function all<Name extends keyof WorkerEvents>(worker: Worker, name: Name): WorkerEvents[Name][] {
  const events: WorkerEvents[Name][] = []
  worker.on(name, (event) => events.push(event))
  return events
}

export const MODES = ['at-least-once', 'at-most-once', 'transactional'] as const

/** A task whose args are a number. */
export const numbered = <Mode extends DeliveryModeName = 'at-least-once'>(
  name = 'work',
  options: TaskOptions<Mode> = {},
) => defineTask(name, { ...options, args: anyNumber } as never) as ReturnType<typeof typedTask<Mode>>

const anyNumber = { '~standard': { version: 1, vendor: 'test', validate: (value: unknown) => ({ value }) } }
declare function typedTask<Mode extends DeliveryModeName>(): import('@pgq/core').Task<number, number, Mode>

export const numbers = (count: number, options: object = {}): { args: number }[] =>
  Array.from({ length: count }, (_, n) => ({ args: n, ...options }))
