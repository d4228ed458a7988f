import { defineTask, enqueue, type Job, type JobMeta, typed } from '@pgq/core'
import { expect, test } from 'vitest'
import { eagerQueue } from '../src/index.js'

const concurrency = { key: 'account 7' }

// Mutants: a job that a handler enqueues runs inside of it; a meta without the key.
test('jobs of a key run one after the other, as all do, and carry it', async () => {
  const work = defineTask('work', { args: typed<number>() })
  const seen: unknown[] = []
  const handler = work.handle(async (n, { meta }: Job) => {
    seen.push(`${n} begins`, meta as JobMeta)
    if (n === 1) await work.enqueue(queue, 2, { concurrency: { ...concurrency, max: 5 } })
    seen.push(`${n} ends`)
  })
  const queue = eagerQueue({ handlers: [handler] })
  await work.enqueue(queue, 1, { concurrency })
  expect(seen).toEqual([
    ...['1 begins', { concurrencyKey: 'account 7', concurrencyMax: '1' }, '1 ends'],
    ...['2 begins', { concurrencyKey: 'account 7', concurrencyMax: '5' }, '2 ends'],
  ])
})

test('an at-most-once task cannot have a key', async () => {
  const once = defineTask('once', { mode: 'at-most-once', args: typed<number>() })
  const queue = eagerQueue({ handlers: [once.handle(() => {})] })
  const refused = once.enqueue(queue, 1, { concurrency: concurrency as never })
  await expect(refused).rejects.toThrow('enqueue of task "once": an at-most-once job leaves nothing in the database')
  expect(queue.jobs).toEqual([])
})

// Mutant: its handler runs, which no worker would let it.
test('by name, where nobody knows the mode, its job dies without a run, as in a worker', async () => {
  const once = defineTask('once', { mode: 'at-most-once', args: typed<number>() })
  const queue = eagerQueue({ handlers: [once.handle(() => expect.unreachable())] })
  await expect(enqueue(queue, 'once', 1, { concurrency })).rejects.toThrow(
    'It was not run: an at-most-once job leaves nothing in the database',
  )
  expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'failed', attempts: 1 }])
})
