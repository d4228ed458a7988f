import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { SharedReading } from '../src/shared-reading.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** A reading whose questions are answered by hand, one after the other, by the fake clock. */
function openReading() {
  const asked: ((value: string) => void)[] = []
  const errors: unknown[] = []
  const read = () => new Promise<string>((resolve) => asked.push(resolve))
  const reading = new SharedReading(read, { cacheMs: 0, timeoutMs: 2_000 }, (error) => errors.push(error))
  /** What a scrape answers that waits to its end. */
  const scrape = async () => {
    const answer = reading.get()
    await vi.advanceTimersByTimeAsync(2_000)
    return (await answer)?.value
  }
  return { asked, errors, scrape }
}

// Mutants: a question that nobody answers is waited for, for good; one for each scrape, until the pool is used up.
test('a question without an answer is given up and asked again, each time after twice as long', async () => {
  const { asked, errors, scrape } = openReading()
  const askedAfter = async (seconds: number) => {
    for (let s = 0; s < seconds; s += 2) expect(await scrape()).toBeUndefined()
    return asked.length
  }
  expect(await askedAfter(20)).toBe(1)
  expect(await askedAfter(2)).toBe(2)
  expect(errors).toEqual([new Error('The database has not answered for 20 s: it is asked again.')])
  expect(await askedAfter(38)).toBe(2)
  expect(await askedAfter(2)).toBe(3)
  const answer = scrape()
  asked[2]!('at last')
  expect(await answer).toBe('at last')
  // Its patience is as at first.
  expect(await askedAfter(20)).toBe(4)
  expect(await askedAfter(2)).toBe(5)
})

// Mutant: the answer to a question that was given up ends the one that is under way.
test('what a given up question answers after all is dropped', async () => {
  const { asked, scrape } = openReading()
  for (let s = 0; s <= 20; s += 2) await scrape()
  expect(asked).toHaveLength(2)
  asked[0]!('late')
  expect(await scrape()).toBeUndefined()
  expect(asked).toHaveLength(2)
  asked[1]!('new')
  expect(await scrape()).toBe('new')
})
