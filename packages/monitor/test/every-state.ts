import { acknowledge, finishHeld, finishInTransaction, returnJobs } from '@pgq/core'
import type { openQueue } from './queue.js'

/** Jobs in every state, in leases of both modes that have them. */
export async function everyState(queue: ReturnType<typeof openQueue>) {
  const worker = await queue.worker()
  const names = ['done', 'finished', 'retried', 'buried', 'leased'] as const
  const first = []
  for (const name of names) first.push([name, await queue.enqueue('mail', { args: { name } })])
  const lease = await queue.claim(worker, 5)
  const bill = await queue.enqueue('bill', { args: { name: 'bill' }, priority: 1 })
  const leasedToo = await queue.enqueue('mail', { args: { name: 'leasedToo' } })
  await queue.claim(worker, 2)
  const held = await queue.enqueue('mail', { args: { name: 'held' } })
  const committed = await queue.enqueue('mail', { args: { name: 'committed' } })

  const holder = await queue.worker()
  const transactional = await queue.claim(holder, 2, { transactional: true })
  await finishHeld(queue.pool, 'pgq', [{ workerId: holder, number: transactional.number, ordinal: 2 }])

  await acknowledge(queue.pool, 'pgq', {
    workerId: worker,
    finished: [],
    partial: [{ number: lease.number, done: [1] }],
  })
  await finishInTransaction(queue.pool, 'pgq', { workerId: worker, number: lease.number, ordinal: 2 }, first[1]![1]!)
  await returnJobs(queue.pool, 'pgq', {
    workerId: worker,
    returns: [
      { number: lease.number, ordinal: 3, kind: 'requeue', attempt: 1, delayMs: 7_200_000, error: failure('again') },
      { number: lease.number, ordinal: 4, kind: 'bury', reason: 'failed', error: failure('for good') },
    ],
  })
  const ready = await queue.enqueue('mail', { args: { name: 'ready' } })
  const readyToo = await queue.enqueue('mail', { args: { name: 'readyToo' }, priority: 2 })
  const delayed = await queue.enqueue('mail', { args: { name: 'delayed' }, delayMs: 3_600_000 })
  const elsewhere = await queue.enqueue('mail', { args: { name: 'elsewhere' }, queue: 'other' })
  const ids = {
    ...(Object.fromEntries(first) as Record<(typeof names)[number], string>),
    ...{ bill, leasedToo, held, committed, ready, readyToo, delayed, elsewhere },
  }
  return {
    ids,
    workers: { worker, holder },
  }
}

const failure = (message: string) => ({ attempt: 1, at: '2026-01-02T03:04:05.678Z', name: 'Error', message })
