import { describe, expect, test } from 'vitest'
import { Events } from '../src/events.js'
import { MODES, next, numbered, queue } from './queue.js'

const db = await queue()
const events = () => {
  const reported: string[] = []
  return { events: new Events((error, event) => reported.push(`${event}: ${(error as Error).message}`)), reported }
}
const fail = (message: string) => () => {
  throw new Error(message)
}

describe('observers', () => {
  test('get what is emitted from then on, in the order they came, until they go', () => {
    const { events: all } = events()
    const seen: string[] = []
    all.emit('worker.started', { workerId: 0 })
    const forget = all.on('worker.started', ({ workerId }) => seen.push(`a${workerId}`))
    all.on('worker.started', ({ workerId }) => seen.push(`b${workerId}`))
    all.on('worker.stopped', () => seen.push('another event'))
    all.emit('worker.started', { workerId: 1 })
    forget()
    forget()
    all.emit('worker.started', { workerId: 2 })
    expect(seen).toEqual(['a1', 'b1', 'b2'])
  })

  test('of one event, twice the same function: each is taken back by itself', () => {
    const { events: all } = events()
    let calls = 0
    const observer = () => {
      calls += 1
    }
    const forget = all.on('worker.stopped', observer)
    all.on('worker.stopped', observer)
    forget()
    all.emit('worker.stopped', { workerId: 1 })
    expect(calls).toBe(1)
    expect([all.has('worker.stopped'), all.has('worker.started')]).toEqual([true, false])
  })

  // Mutant: emit without try.
  test('that throw are reported with the event; the others get theirs', () => {
    const { events: all, reported } = events()
    const seen: number[] = []
    all.on('worker.started', fail('mine'))
    all.on('worker.started', ({ workerId }) => seen.push(workerId))
    all.emit('worker.started', { workerId: 7 })
    expect(seen).toEqual([7])
    expect(reported).toEqual(['worker.started: mine'])
  })

  // Mutant: the answer of an observer not looked at: an unhandled rejection ends the process.
  test('that reject are reported as well', async () => {
    const { events: all, reported } = events()
    all.on('worker.started', async () => fail('later')())
    all.emit('worker.started', { workerId: 7 })
    await null
    expect(reported).toEqual(['worker.started: later'])
  })

  test('that throw when nobody listens to the report change nothing', () => {
    const all = new Events(fail('the logger is broken'))
    all.on('worker.started', fail('mine'))
    expect(() => all.emit('worker.started', { workerId: 7 })).not.toThrow()
  })
})

// Mutants: emit without try; a report without try: the loop ends, or the worker does not start.
test.each(MODES)('%s: jobs run although every observer and every line of the logger throws', async (mode) => {
  const task = numbered('work', { mode })
  const broken = fail('broken')
  const seen: number[] = []
  const worker = db.idleWorker([task.handle((n) => seen.push(n))], {
    logger: { debug: broken, info: broken, warn: broken, error: broken },
  })
  const names = ['worker.started', 'jobs.claimed', 'job.started', 'job.settled', 'worker.stopping', 'worker.stopped']
  for (const name of names) {
    worker.on(name as 'job.settled', broken)
    worker.on(name as 'job.settled', async () => broken())
  }
  await worker.start()
  for (const n of [1, 2]) {
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, n)
    await settled
  }
  await worker.stop()
  expect(seen).toEqual([1, 2])
})
