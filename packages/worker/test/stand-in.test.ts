import { Socket } from 'node:net'
import { expect, test } from 'vitest'
import type { WorkerOptions } from '../src/index.js'
import { all, next, numbered, queue, until } from './queue.js'
import { workerProcess } from './worker-process.js'

const db = await queue()
const { url } = db
const LEASE_MS = 1_000

/** A worker in a process of its own that blocks its event loop, and another worker that would take over. */
async function blocked(ms: number, { leaseMs = LEASE_MS, ...options }: Partial<WorkerOptions> = {}) {
  const victim = workerProcess({
    url,
    modes: ['at-least-once'],
    blockMs: ms,
    worker: { leaseMs, ...options },
    tell: ['worker.blocked', 'worker.replaced', 'job.settled', 'job.lost'],
  })
  const { id } = await victim.heard('ready')
  await db.pool.query(`insert into pgq.jobs (task, args) values ('at-least-once', '1')`)
  await victim.heard('run')
  const other = await db.worker([numbered('at-least-once').handle(() => {})], { leaseMs })
  return { victim, id, rescued: all(other, 'workers.rescued'), rescuedNext: next(other, 'workers.rescued') }
}

// Mutants: no thread; one that beats without its turn (the lock alone is not enough: the beat is older than the lease).
test('a handler that blocks the event loop for longer than the lease keeps its job', { timeout: 30_000 }, async () => {
  // A lease in which a thread has the time to start and connect on a machine that has other work.
  const { victim, id, rescued } = await blocked(7_000, { leaseMs: 3_000 })
  const { workerId, blockedForMs } = await victim.heard('worker.blocked')
  expect(workerId).toBe(id)
  expect(blockedForMs).toBeGreaterThan(3_500)
  await victim.heard('job.settled')
  expect(rescued).toEqual([])
  expect(await db.rows('select attempt from runs')).toEqual([{ attempt: 1 }])
  await until(() =>
    db.value(
      `select count(*) = 0 from pg_stat_activity where application_name = 'pgq stand-in' and datname = current_database()`,
    ),
  )
})

// Mutant: a stand-in without end: a process that hangs for good keeps its jobs.
test('one that is blocked for longer than maxBlockedMs is given up', { timeout: 30_000 }, async () => {
  const { id, rescuedNext } = await blocked(15_000, { maxBlockedMs: 1_000 })
  expect((await rescuedNext).workers).toEqual([id])
})

// Mutant: a thread that beats whatever the process does.
test('a frozen process is given up after its lease', { timeout: 30_000 }, async () => {
  const { victim, id, rescuedNext } = await blocked(15_000)
  victim.kill('SIGSTOP')
  expect((await rescuedNext).workers).toEqual([id])
})

test('a connection that cannot be had is told once, and the worker goes on', { timeout: 30_000 }, async () => {
  const task = numbered()
  const block = (ms: number) => {
    for (const end = Date.now() + ms; Date.now() < end; );
  }
  // As the connectors of some clouds do it.
  const connection = { connectionString: url, stream: (() => new Socket()) as never }
  const worker = db.idleWorker([task.handle(block)], { connection, leaseMs: LEASE_MS })
  const missed = next(worker, 'capability.missed')
  await worker.start()
  expect(await missed).toMatchObject({ capability: 'standIn', error: { name: 'DataCloneError' } })
  const settled = next(worker, 'job.settled')
  await task.enqueue(db.pool, 10)
  await settled
})
