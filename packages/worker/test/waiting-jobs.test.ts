import { describe, expect, test } from 'vitest'
import type { JobRun } from '../src/run-job.js'
import { WaitingJobs } from '../src/waiting-jobs.js'

/** Jobs by their names: queue, priority, and a letter to tell them apart; the time they were claimed. */
const runs = (names: string, claimedAt = 0) =>
  names
    .split(' ')
    .filter(Boolean)
    .map((id) => ({ claimedAt, claim: { job: { id, queue: id[0]!, priority: Number(id[1]) } } }) as unknown as JobRun)

const names = (all: readonly JobRun[]) => all.map(({ claim }) => claim.job.id).join(' ')

function waitingOf(...batches: string[]): WaitingJobs {
  const waiting = new WaitingJobs()
  for (const batch of batches) waiting.add(runs(batch))
  return waiting
}

// Mutants: claimed jobs behind all that wait; before those of an equal priority; before those of other queues; the last one first.
describe.each([
  ['a0x a0y', 'a0z', 'a0x a0y a0z'],
  ['', 'a1x a0y', 'a1x a0y'],
  ['a0x a0y', 'a5x a5y a0z', 'a5x a5y a0x a0y a0z'],
  ['a9x a5x a1x', 'a5y a1y', 'a9x a5x a5y a1x a1y'],
  ['b0x a0x b0y', 'a7x b0z', 'b0x a7x a0x b0y b0z'],
  ['b0x b0y', 'a7x', 'b0x b0y a7x'],
])('%s, then %s: %s', (first, second, order) => {
  test('taken together', () => {
    const waiting = waitingOf(first, second)
    expect([names(waiting.takeAll()), waiting.size]).toEqual([order, 0])
  })

  test('taken one by one', () => {
    const waiting = waitingOf(first, second)
    const taken: JobRun[] = []
    for (let run = waiting.take(); run; run = waiting.take()) taken.push(run)
    expect(names(taken)).toBe(order)
  })
})

test('some can be taken out, and the others keep their order', () => {
  const waiting = waitingOf('a0v a0w a0x a0y a0z')
  waiting.take()
  expect(names(waiting.takeOf(new Set(['a0z', 'a0v', 'a0x'])).reverse())).toBe('a0x a0z')
  expect([waiting.size, names(waiting.takeAll())]).toEqual([2, 'a0w a0y'])
})

test('how old the oldest is', () => {
  const waiting = new WaitingJobs()
  expect(waiting.isOlderThan(1_000)).toBe(false)
  waiting.add(runs('a0x', 50))
  waiting.add(runs('a9x', 60))
  expect([waiting.isOlderThan(50), waiting.isOlderThan(51)]).toEqual([false, true])
})
