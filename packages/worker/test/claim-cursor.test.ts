import { type ClaimedJob, claimRank } from '@pgq/core'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { ClaimCursor } from '../src/claim-cursor.js'

interface Waiting {
  readonly queue: string
  readonly priority: number
  readonly position: number
}

/** What a claim with these ranges takes: range by range, in the order of ranks, at most `limit` jobs. */
function claim(jobs: Set<Waiting>, ranges: ReturnType<ClaimCursor['ranges']>, limit: number): Waiting[] {
  const taken: Waiting[] = []
  ranges.queues.forEach((queue, index) => {
    const after = BigInt(ranges.after[index]!)
    const upto = BigInt(ranges.upto[index]!)
    const inRange = [...jobs].filter((job) => job.queue === queue && rank(job) > after && rank(job) <= upto)
    taken.push(...inRange.sort((a, b) => (rank(a) < rank(b) ? -1 : 1)).slice(0, limit - taken.length))
  })
  for (const job of taken) jobs.delete(job)
  return taken
}
const rank = ({ priority, position }: Waiting) => claimRank(priority, position)
const shown = (jobs: readonly Waiting[]) => jobs.map(({ queue, priority, position }) => [queue, priority, position])
const HOUR = 3_600_000

/** A cursor on one queue whose next scan from the start is a while off. */
function cursorAfter(...claimed: Waiting[]): ClaimCursor {
  const cursor = new ClaimCursor(['q'])
  expect(cursor.ranges(1).rescan).toBe(true)
  cursor.advance(claimed as unknown as ClaimedJob[], true, 1, HOUR)
  return cursor
}
const job = (priority: number, position: number, queue = 'q'): Waiting => ({ queue, priority, position })

describe('the ranges', () => {
  test('are everything at first', () => {
    const ranges = new ClaimCursor(['q']).ranges(0)
    const extremes = [job(32_767, 1), job(-32_768, 2 ** 47 - 1), job(0, 0)]
    expect(claim(new Set(extremes), ranges, 9)).toHaveLength(3)
  })

  // Mutant: one position for all priorities.
  test('pass over what was claimed, per priority', () => {
    const cursor = cursorAfter(job(5, 100), job(0, 200))
    const jobs = new Set([job(5, 99), job(5, 101), job(0, 199), job(0, 201)])
    expect(shown(claim(jobs, cursor.ranges(2), 9))).toEqual([
      ['q', 5, 101],
      ['q', 0, 201],
    ])
  })

  // Mutant: only priorities that were seen.
  test('hold every priority that was not seen yet: above, between and below', () => {
    const cursor = cursorAfter(job(5, 100), job(0, 200))
    const jobs = new Set([job(9, 1), job(3, 1), job(-3, 1), job(32_767, 1), job(-32_768, 1)])
    expect(claim(jobs, cursor.ranges(2), 9).map(({ priority }) => priority)).toEqual([32_767, 9, 3, -3, -32_768])
  })

  // Mutant: the last answer counts. Several claims may be under way, and their answers come in any order.
  test('never go back for an answer that comes late', () => {
    const cursor = cursorAfter(job(0, 100))
    cursor.advance([job(0, 90)] as unknown as ClaimedJob[], false, 2, 0)
    expect(claim(new Set([job(0, 95)]), cursor.ranges(3), 9)).toEqual([])
  })

  test('of one queue know nothing of another', () => {
    const cursor = new ClaimCursor(['q', 'r'])
    cursor.ranges(1)
    cursor.advance([job(0, 100, 'q')] as unknown as ClaimedJob[], true, 1, HOUR)
    expect(claim(new Set([job(0, 50, 'q'), job(0, 50, 'r')]), cursor.ranges(2), 9)).toEqual([job(0, 50, 'r')])
  })

  // Mutant: always the same order: the first queue starves the others.
  test('begin with another queue each time', () => {
    const cursor = new ClaimCursor(['a', 'b', 'c'])
    const orders = Array.from({ length: 4 }, () => cursor.ranges(0).queues.join(''))
    expect(orders).toEqual(['abc', 'bca', 'cab', 'abc'])
  })
})

describe('what appears behind the cursor', () => {
  const late = job(0, 50)

  // Mutant: no rescan on a timer.
  test('is found a second later at the latest, however dear a scan from the start is', () => {
    const cursor = cursorAfter(job(0, 100))
    expect(claim(new Set([late]), cursor.ranges(1_000), 9)).toEqual([])
    const ranges = cursor.ranges(1_001)
    expect(ranges.rescan).toBe(true)
    expect(claim(new Set([late]), ranges, 9)).toEqual([late])
  })

  // Mutant: a fixed interval of a second.
  test('is found at once when a scan from the start is cheap: twenty times its cost later', () => {
    const cursor = new ClaimCursor(['q'])
    cursor.ranges(0)
    cursor.advance([job(0, 100)] as unknown as ClaimedJob[], true, 10, 0.5)
    expect(cursor.ranges(19.9).rescan).toBe(false)
    expect(claim(new Set([late]), cursor.ranges(20), 9)).toEqual([late])
  })

  test('is found at once after a reset', () => {
    const cursor = cursorAfter(job(0, 100))
    cursor.reset()
    expect(claim(new Set([late]), cursor.ranges(2), 9)).toEqual([late])
  })

  test('a claim that was no scan from the start does not put the next one off', () => {
    const cursor = cursorAfter(job(0, 100))
    cursor.advance([job(0, 101)] as unknown as ClaimedJob[], false, 900, HOUR)
    expect(cursor.ranges(1_001).rescan).toBe(true)
  })
})

describe('while a scan from the start is under way', () => {
  // Mutant: each claim until its answer is one more.
  test('the next claim is none', () => {
    const cursor = new ClaimCursor(['q'])
    expect([1, 2, 1_002].map((now) => cursor.ranges(now).rescan)).toEqual([true, false, true])
  })

  // Mutants: it hides what the scan could not take; the claim behind the scan passes over that.
  test('an earlier claim is answered: what the scan has left comes next', () => {
    const cursor = cursorAfter(job(0, 100))
    const earlier = cursor.ranges(500)
    const scan = cursor.ranges(1_002)
    expect([earlier.rescan, scan.rescan]).toEqual([false, true])
    expect(claim(new Set([job(0, 60)]), cursor.ranges(1_003), 9)).toEqual([job(0, 60)])
    cursor.advance([job(0, 110)] as unknown as ClaimedJob[], false, 1_003, 1)
    cursor.advance([job(0, 50)] as unknown as ClaimedJob[], true, 1_004, 1)
    expect(claim(new Set([job(0, 70)]), cursor.ranges(1_005), 9)).toEqual([job(0, 70)])
  })
})

test('more priorities than it remembers: it forgets them, and loses no job', () => {
  const jobs = new Set(Array.from({ length: 300 }, (_, index) => job(index - 150, index)))
  const cursor = new ClaimCursor(['q'])
  const taken: number[] = []
  for (let turn = 1; taken.length < 300; turn++) {
    const ranges = cursor.ranges(turn)
    expect(ranges.queues.length).toBeLessThanOrEqual(65)
    const batch = claim(jobs, ranges, 7)
    cursor.advance(batch as unknown as ClaimedJob[], ranges.rescan, turn, HOUR)
    taken.push(...batch.map(({ priority }) => priority))
  }
  expect(taken).toEqual(taken.toSorted((a, b) => b - a))
})

test('with new positions for whatever comes, it claims just what a claim without a cursor would', () => {
  const step = fc.oneof(
    fc.record({ enqueue: fc.array(fc.integer({ min: -2, max: 2 }), { minLength: 1, maxLength: 10 }) }),
    fc.record({ claim: fc.integer({ min: 1, max: 6 }) }),
    fc.record({ wait: fc.integer({ min: 1, max: 700 }) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const cursor = new ClaimCursor(['q'])
      const [jobs, all] = [new Set<Waiting>(), new Set<Waiting>()]
      let [position, now] = [0, 0]
      for (const each of steps) {
        if ('wait' in each) now += each.wait
        else if ('enqueue' in each) {
          for (const priority of each.enqueue) {
            const added = job(priority, ++position)
            jobs.add(added)
            all.add(added)
          }
        } else {
          const ranges = cursor.ranges(now)
          const batch = claim(jobs, ranges, each.claim)
          cursor.advance(batch as unknown as ClaimedJob[], ranges.rescan, now, 10)
          expect(shown(batch)).toEqual(shown(claim(all, new ClaimCursor(['q']).ranges(0), each.claim)))
        }
      }
    }),
    { numRuns: 200 },
  )
})
