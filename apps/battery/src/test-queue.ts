import { enqueueMany } from '@pgq/core'
import pg from 'pg'
import type { FinalState } from './check-history.js'
import { type HistoryEvent, type HistoryWriter, readHistory, writeHistory } from './history.js'
import type { TaskName, Work } from './programs/worker.js'

/** A migrated database, with the table that handlers write their effects to. */
export interface TestQueue {
  readonly url: string
  readonly pool: pg.Pool
  /** The folder of its history. */
  readonly folder: string
  note: HistoryWriter['note']
  readHistory(): HistoryEvent[]
  rows<Row = any>(sql: string, params?: unknown[]): Promise<Row[]>
  /** The first column of the first row. */
  value<Value = any>(sql: string, params?: unknown[]): Promise<Value>
  /** Enqueues and notes what was acknowledged. */
  enqueue(task: TaskName, works: readonly Work[], options?: EnqueueOptions): Promise<void>
  /** How many jobs are waiting or running. */
  waiting(): Promise<number>
  finalState(): Promise<FinalState>
  close(): Promise<void>
}

interface EnqueueOptions {
  readonly priority?: number
  readonly delayMs?: number
}

export async function openQueue(url: string, folder: string): Promise<TestQueue> {
  const { note, close } = writeHistory(folder)
  const pool = new pg.Pool({ connectionString: url, max: 6, connectionTimeoutMillis: 10_000 })
  pool.on('error', () => {})
  pool.on('connect', (client) => client.on('error', () => {}))
  // No unique constraint: it would hide what ran twice.
  await pool.query(
    'create table if not exists effects (task text, n integer, pid integer, attempt integer, crashes integer)',
  )
  const rows = async (sql: string, params?: unknown[]) => (await pool.query(sql, params)).rows
  const value = async (sql: string, params?: unknown[]) => Object.values((await rows(sql, params))[0] ?? {})[0] as any
  return {
    url,
    pool,
    folder,
    note,
    readHistory: () => readHistory(folder),
    rows,
    value,
    async enqueue(task, works, options = {}) {
      await enqueueMany(
        pool,
        task,
        works.map((work) => ({ args: work, ...options })),
      )
      for (const { n } of works) note({ kind: 'acknowledged', task, n })
    },
    waiting: () => value(WAITING),
    async finalState() {
      return {
        effects: await rows('select task, n, pid, attempt, crashes from effects'),
        left: await rows(`${NAMES} from pgq.job_states where state <> 'dead'`),
        dead: await rows(`${NAMES} from pgq.job_states where state = 'dead'`),
      }
    },
    async close() {
      await pool.end()
      close()
    },
  }
}

const NAMES = `select task, (args->>'n')::integer as n`

const WAITING = `select count(*)::integer from pgq.job_states where state <> 'dead'`
