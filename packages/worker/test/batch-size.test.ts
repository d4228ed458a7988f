import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { BatchSize } from '../src/batch-size.js'

/** A size that has learnt the pace of its handlers, having grown to its full batches. */
function paced(concurrency: number, ms: number, maxBatch = 1_000): BatchSize {
  const size = new BatchSize(concurrency, maxBatch)
  for (let run = 0; run < 200; run++) size.ran(ms)
  size.claimed(maxBatch)
  return size
}

describe('how many jobs to claim', () => {
  test('before anything ran: one per free slot', () => {
    const size = new BatchSize(10, 1_000)
    expect(size.next(0, 0)).toBe(10)
    expect(size.next(7, 0)).toBe(3)
    expect(size.next(10, 0)).toBe(0)
    expect(size.next(4, 6)).toBe(0)
  })

  // Mutant: LOOKAHEAD_MS = 750.
  test.each([
    [1, 750, 760],
    [10, 75, 85],
    [75, 10, 20],
  ])('handlers of %d ms: what starts within 75 ms, %d jobs, beside the free slots', (ms, ahead, all) => {
    const size = paced(10, ms)
    expect(size.next(10, 0)).toBe(ahead)
    expect(size.next(0, 0)).toBe(all)
  })

  // Mutant: at least one job ahead.
  test('slow handlers: never more than the free slots', () => {
    const size = paced(10, 1_000)
    for (let running = 0; running <= 10; running++) expect(size.next(running, 0)).toBe(10 - running)
    expect(size.next(3, 7)).toBe(0)
  })

  test('a slot that is free is filled at once; jobs ahead only when half of them are missing', () => {
    const size = paced(10, 1)
    expect(size.next(10, 700)).toBe(0)
    expect(size.next(10, 376)).toBe(0)
    expect(size.next(10, 375)).toBe(375)
    expect(size.next(9, 0)).toBe(751)
    expect(size.next(0, 9)).toBe(751)
  })

  // Mutant: each may ask for all there is room for, so that the other finds none.
  test('half of it for each of two claims under way', () => {
    const size = paced(10, 0.01)
    expect(size.half).toBe(500)
    expect(size.next(10, size.half)).toBe(500)
    expect(size.next(10, 2 * size.half)).toBe(0)
  })

  // Mutant: half of what waits ahead, of which slow handlers have none.
  test('all slots can be filled by each of two claims', () => {
    expect(paced(100, 100).half).toBe(100)
    expect(paced(10, 10_000).half).toBe(10)
  })

  // Mutant: no growth limit; one burst of fast jobs would fetch the whole batch for whatever comes next.
  test('grows at most twofold from claim to claim', () => {
    const size = new BatchSize(10, 1_000)
    size.claimed(10)
    size.ran(0.01)
    const sizes = []
    for (let claim = 0; claim < 8; claim++) {
      const next = size.next(10, 0)
      size.claimed(next)
      sizes.push(next)
    }
    expect(sizes).toEqual([20, 40, 80, 160, 320, 640, 1_000, 1_000])
  })

  // Mutant: failed() that does nothing: a claim that takes longer than statement_timeout is sent again as it was, for ever.
  test('half as many after each claim that failed, down to one; then twofold again', () => {
    const size = new BatchSize(10, 1_000)
    const failing = Array.from({ length: 5 }, () => {
      const next = size.next(0, 0)
      size.failed(next)
      return next
    })
    expect(failing).toEqual([10, 5, 3, 2, 1])
    const sizes = Array.from({ length: 5 }, () => {
      const next = size.next(0, 0)
      size.claimed(next)
      return next
    })
    expect(sizes).toEqual([1, 2, 4, 8, 10])
  })

  test('slow runs count at once, fast ones by and by', () => {
    const size = paced(10, 1)
    size.ran(5_000)
    expect(size.next(10, 0)).toBe(0)
    for (let run = 0; run < 10; run++) size.ran(1)
    expect(size.next(10, 0)).toBeLessThan(10)
    for (let run = 0; run < 300; run++) size.ran(1)
    expect(size.next(10, 0)).toBeGreaterThan(700)
  })

  // Mutant: stalled() that does nothing: what just went back would be claimed again at once.
  test('nothing ahead of handlers that stall, until they are fast again', () => {
    const size = paced(4, 1)
    size.stalled(1_000)
    expect(size.next(4, 0)).toBe(0)
    expect(size.next(3, 0)).toBe(1)
    for (let run = 0; run < 300; run++) size.ran(1)
    expect(size.next(4, 0)).toBeGreaterThan(200)
  })

  test('whatever happens: whole numbers, within maxBatch, and all slots can be filled', () => {
    const state = fc.record({
      concurrency: fc.integer({ min: 1, max: 200 }),
      maxBatch: fc.integer({ min: 1, max: 2_000 }),
      runs: fc.array(fc.double({ min: 0, max: 1e6, noNaN: true }), { maxLength: 20 }),
      last: fc.nat(2_000),
      waiting: fc.nat(2_000),
    })
    fc.assert(
      fc.property(state, fc.double({ min: 0, max: 1, noNaN: true }), (given, share) => {
        const { concurrency, maxBatch, runs, last, waiting } = given
        const size = new BatchSize(concurrency, maxBatch)
        for (const ms of runs) size.ran(ms)
        size.claimed(last)
        const running = Math.floor(concurrency * share)
        const next = size.next(running, waiting)
        const missing = Math.max(concurrency - running - waiting, 0)
        expect(Number.isInteger(next)).toBe(true)
        expect(next).toBeGreaterThanOrEqual(Math.min(missing, maxBatch))
        expect(next).toBeLessThanOrEqual(maxBatch)
        if (runs.length === 0) expect(next).toBe(Math.min(missing, maxBatch))
      }),
    )
  })
})
