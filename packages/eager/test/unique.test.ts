import { defineTask, typed } from '@pgq/core'
import { expect, test } from 'vitest'
import { type EagerQueueOptions, eagerQueue } from '../src/index.js'

const MINUTE = 60_000
const work = defineTask('work', { args: typed<number>() })

function recording(options: Partial<EagerQueueOptions> = {}) {
  const runs: number[] = []
  const queue = eagerQueue({ handlers: [work.handle((n) => void runs.push(n))], mode: 'manual', ...options })
  const put = (n: number, unique: object = {}, rest: object = {}) =>
    work.enqueue(queue, n, { unique: { key: 'a', ...unique }, ...rest })
  return { queue, runs, put }
}

test('one job of a key while it waits, and another when it has run', async () => {
  const { queue, runs, put } = recording()
  expect(await put(1)).toEqual({ status: 'inserted', id: '1' })
  expect(await put(2)).toEqual({ status: 'duplicate', id: '1' })
  expect(await put(3, { key: 'b' })).toEqual({ status: 'inserted', id: '2' })
  await queue.drain()
  expect(await put(4)).toEqual({ status: 'inserted', id: '3' })
  await queue.drain()
  expect(runs).toEqual([1, 3, 4])
})

test('until it has started: its handler may enqueue the next one', async () => {
  const results: string[] = []
  const queue = eagerQueue({
    handlers: [
      work.handle(async (n, { meta }) => {
        if (n > 1) return
        for (const until of ['finished', 'started'] as const) {
          results.push(`${meta.key} ${until} ${(await work.enqueue(queue, 2, { unique: { key: 'a', until } })).status}`)
        }
      }),
    ],
  })
  await work.enqueue(queue, 1, { unique: { key: 'a' } })
  expect(results).toEqual(['a finished duplicate', 'a started inserted'])
})

test('for a time, by the clock of the queue', async () => {
  const { queue, runs, put } = recording({ mode: 'inline' })
  await put(1, { forMs: MINUTE })
  expect((await put(2, { forMs: MINUTE })).status).toBe('duplicate')
  await queue.advance(MINUTE)
  expect((await put(3, { forMs: MINUTE })).status).toBe('inserted')
  expect(runs).toEqual([1, 3])
})

test('replace: what waits becomes what was enqueued now', async () => {
  const { queue, runs, put } = recording()
  await put(1, {}, { delayMs: MINUTE })
  await queue.advance(MINUTE / 2)
  expect(await put(2, { ifWaiting: 'replace' }, { delayMs: MINUTE, priority: 5 })).toEqual({
    status: 'replaced',
    id: '1',
  })
  await queue.advance(MINUTE / 2)
  expect(runs).toEqual([])
  expect(queue.jobs).toMatchObject([{ args: 2, priority: 5, state: 'scheduled' }])
  await put(3, { ifWaiting: 'replace' })
  await queue.drain()
  expect(runs).toEqual([3])
  expect(queue.jobs).toHaveLength(1)
})

test('several in one call', async () => {
  const { queue, runs } = recording()
  const results = await work.enqueueMany(queue, [
    { args: 1, unique: { key: 'a' } },
    { args: 2 },
    { args: 3, unique: { key: 'a' } },
  ])
  expect(results.map(({ status }) => status)).toEqual(['inserted', 'inserted', 'duplicate'])
  await queue.drain()
  expect(runs).toEqual([1, 2])
  queue.clear()
  expect((await work.enqueue(queue, 4, { unique: { key: 'a' } })).status).toBe('inserted')
})
