import { acknowledge, finishHeld, finishInTransaction, returnJobs } from '@pgq/core'
import type { openQueue } from './queue.js'

/** Jobs in every state, in leases of both modes that have them. */
export async function everyState(queue: ReturnType<typeof openQueue>) {
  const worker = await queue.worker()
  const names = ['done', 'finished', 'retried', 'buried', 'leased'] as const
  const first = {} as Record<(typeof names)[number], string>
  for (const name of names) first[name] = await queue.enqueue('mail', { args: { name } })
  const lease = await queue.claim(worker, 5)
  const bill = await queue.enqueue('bill', { args: { name: 'bill' }, priority: 1 })
  const leasedToo = await queue.enqueue('mail', { args: { name: 'leasedToo' } })
  await queue.claim(worker, 2)
  const held = await queue.enqueue('mail', { args: { name: 'held' } })
  const committed = await queue.enqueue('mail', { args: { name: 'committed' } })

  const holder = await queue.worker()
  const transactional = await queue.claim(holder, 2, { transactional: true })
  await finishHeld(queue.pool, 'pgq', [{ workerId: holder, ...placeOf(transactional, committed) }])

  await acknowledge(queue.pool, 'pgq', {
    workerId: worker,
    finished: [],
    partial: [{ number: lease.number, done: [placeOf(lease, first.done).ordinal] }],
  })
  await finishInTransaction(queue.pool, 'pgq', { workerId: worker, ...placeOf(lease, first.finished) }, first.finished)
  await returnJobs(queue.pool, 'pgq', {
    workerId: worker,
    returns: [
      { ...placeOf(lease, first.retried), kind: 'requeue', attempt: 1, delayMs: 7_200_000, error: failure('again') },
      { ...placeOf(lease, first.buried), kind: 'bury', reason: 'failed', error: failure('for good') },
    ],
  })
  const ready = await queue.enqueue('mail', { args: { name: 'ready' } })
  const readyToo = await queue.enqueue('mail', { args: { name: 'readyToo' }, priority: 2 })
  const delayed = await queue.enqueue('mail', { args: { name: 'delayed' }, delayMs: 3_600_000 })
  const elsewhere = await queue.enqueue('mail', { args: { name: 'elsewhere' }, queue: 'other' })
  const ids = { ...first, bill, leasedToo, held, committed, ready, readyToo, delayed, elsewhere }
  return {
    ids,
    workers: { worker, holder },
  }
}

type Claim = Awaited<ReturnType<ReturnType<typeof openQueue>['claim']>>

/** In a lease, jobs stand as they were stored, not as they were claimed. */
const placeOf = ({ number, jobs }: Claim, id: string) => ({
  number,
  ordinal: jobs.find((job) => job.id === id)!.ordinal,
})

const failure = (message: string) => ({ attempt: 1, at: '2026-01-02T03:04:05.678Z', name: 'Error', message })
