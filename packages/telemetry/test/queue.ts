import type { Handler } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { createWorker, type Worker, type WorkerOptions } from '@pgq/worker'
import pg from 'pg'
import { afterAll, beforeEach, onTestFinished } from 'vitest'

/** A migrated database, empty before each test, and workers on it that are stopped after the test. */
export async function queue() {
  const database = await testDatabase()
  const pool = new pg.Pool({ connectionString: database.url })
  afterAll(() => pool.end())
  beforeEach(() => database.truncate())
  return {
    pool,
    url: database.url,
    /** A worker that is not started yet, so that it can be observed first. */
    worker(handlers: readonly Handler[], options: Partial<WorkerOptions> = {}): Worker {
      const worker = createWorker({
        connectionString: database.url,
        handlers,
        handleSignals: false,
        graceMs: 0,
        ...options,
      })
      onTestFinished(() => worker.stop(), 20_000)
      return worker
    },
  }
}

/** Resolves when that many jobs have been settled, in any way. */
export function settled(worker: Worker, jobs: number): Promise<void> {
  return new Promise((resolve) => {
    let count = 0
    worker.on('jobs.settled', ({ runs }) => {
      count += runs.length
      if (count === jobs) resolve()
    })
  })
}

/** A promise and what resolves it. */
export function gate() {
  let open = () => {}
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { opened, open }
}
