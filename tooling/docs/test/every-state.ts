import { claimIntoLease, enqueueMany, finishHeld, hangDoorbell, registerWorker, returnJobs } from '@pgq/core'
import type pg from 'pg'

/** The queue of the jobs that everyState() makes; a page's own jobs are in others. */
export const STAGED = 'staged'

/**
 * Puts jobs into every state, so that a page's queries have something to tell. They are held by a worker that seems to live as
 * long as both connections are open. One of them is amid a transaction. Of two schedules one failed, and was paused for it.
 */
export async function everyState(worker: pg.Client, transaction: pg.Client): Promise<void> {
  const description = { hostname: 'staged', pid: 1, queues: [STAGED], tasks: ['mail'] }
  const workerId = await registerWorker(worker, 'pgq', description)
  // Nobody beats for it; its lock alone would not keep it alive for long.
  await worker.query(`update pgq.workers set beat_at = now() + interval '1 hour'`)
  await enqueueMany(
    worker,
    'mail',
    [1, 2, 3, 4].map((args) => ({ args, queue: STAGED })),
  )
  await claimIntoLease(worker, 'pgq', { ...everything(workerId), number: 1, limit: 3 })
  await returnJobs(worker, 'pgq', {
    workerId,
    returns: [
      { number: 1, ordinal: 1, kind: 'bury', reason: 'failed', error },
      { number: 1, ordinal: 2, kind: 'requeue', attempt: 1, delayMs: 3_600_000, error },
    ],
  })
  await claimIntoLease(worker, 'pgq', { ...everything(workerId), number: 2, limit: 1, transactional: true })
  await transaction.query('begin')
  await finishHeld(transaction, 'pgq', [{ workerId, number: 2, ordinal: 1 }])
  await enqueueMany(worker, 'mail', [
    { args: 5, queue: STAGED },
    { args: 6, queue: STAGED, delayMs: 3_600_000 },
  ])
  await worker.query(
    `insert into pgq.jobs (queue, task, execute_at, meta) values ($1, 'mail', 'infinity', pgq.concurrency('account 7'))`,
    [STAGED],
  )
  await hangDoorbell(worker, 'pgq', { workerId, channel: 'staged', queues: [STAGED] })
  await worker.query(
    `insert into pgq.schedules (name, task, queue, every_ms, next_at, failed_at, error, paused_at) values
       ($1, 'mail', $1, 3600000, now() + interval '1 hour', null, null, null),
       ($1 || ' broken', 'mail', $1, 3600000, now() - interval '1 hour', now(), 'no such address', now())`,
    [STAGED],
  )
}

const everything = (workerId: number) => ({
  workerId,
  queues: [STAGED],
  after: [String(-(2n ** 63n))],
  upto: [String(2n ** 63n - 1n)],
  tasks: ['mail'],
  maxBytes: 1e9,
})

const error = { attempt: 1, at: '2026-01-02T03:04:05.678Z', name: 'Error', message: 'no such address' }
