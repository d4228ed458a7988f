import { afterEach, describe, expect, test, vi } from 'vitest'
import { Backoff, Outage } from '../src/backoff.js'
import { Events, type WorkerEvents } from '../src/events.js'

/** An outage and what it tells. */
function outage() {
  const told: string[] = []
  const events = new Events(() => {})
  let restored: WorkerEvents['database.restored'] | undefined
  events.on('database.lost', ({ error }) => told.push(`lost ${(error as Error).message}`))
  events.on('database.restored', (event) => {
    told.push('restored')
    restored = event
  })
  return { outage: new Outage(events), told, restored: () => restored! }
}
const away = new Error('away')

afterEach(() => void vi.useRealTimers())

describe('waits while the database is away', () => {
  // Mutants: no ceiling; no jitter (all workers come back in the same moment).
  test('50 ms, doubling to 2 s, each with up to half of it off', () => {
    const delays = Array.from({ length: 50 }, () => {
      const backoff = new Backoff(outage().outage)
      return Array.from({ length: 10 }, () => backoff.failed(away))
    })
    const ceilings = [50, 100, 200, 400, 800, 1_600, 2_000, 2_000, 2_000, 2_000]
    for (const tries of delays) {
      tries.forEach((ms, index) => {
        expect(ms).toBeLessThanOrEqual(ceilings[index]!)
        expect(ms).toBeGreaterThanOrEqual(ceilings[index]! / 2)
      })
    }
    expect(new Set(delays.map(([first]) => first)).size).toBeGreaterThan(40)
  })

  test('begin small again after a success', () => {
    const backoff = new Backoff(outage().outage)
    for (let failure = 0; failure < 10; failure++) backoff.failed(away)
    backoff.succeeded()
    expect(backoff.failed(away)).toBeLessThanOrEqual(50)
  })
})

describe('an outage', () => {
  // Mutant: an event per failure, or per loop: a log storm.
  test('is told once, whatever the number of loops and failures, with the first error', () => {
    const { outage: shared, told, restored } = outage()
    const loops = [new Backoff(shared), new Backoff(shared), new Backoff(shared)]
    loops[0]!.failed(new Error('first'))
    for (let failure = 0; failure < 100; failure++) for (const loop of loops) loop.failed(away)
    expect(told).toEqual(['lost first'])
    for (const loop of loops) loop.succeeded()
    expect(told).toEqual(['lost first', 'restored'])
    expect(restored().downMs).toBeGreaterThanOrEqual(0)
  })

  // Mutant: each is told: where only some connections fail, the others ended 100 outages in 5 s.
  test('is not told within 10 s of another', () => {
    vi.useFakeTimers({ toFake: ['performance'] })
    const { outage: shared, told } = outage()
    const loop = new Backoff(shared)
    for (let turn = 0; turn < 4; turn++) {
      loop.failed(new Error(`at ${turn * 5} s`))
      loop.succeeded()
      vi.advanceTimersByTime(5_000)
    }
    expect(told).toEqual(['lost at 0 s', 'restored', 'lost at 10 s', 'restored'])
  })

  // Mutant: succeeded() that ends the outage for all: a connection that cannot be opened would be told at every turn of the others.
  test('is not ended by a loop that never noticed it', () => {
    const { outage: shared, told } = outage()
    const failing = new Backoff(shared)
    const unharmed = new Backoff(shared)
    for (let turn = 0; turn < 10; turn++) {
      failing.failed(away)
      unharmed.succeeded()
    }
    expect(told).toEqual(['lost away'])
  })
})
