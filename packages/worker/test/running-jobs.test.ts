import { expect, test } from 'vitest'
import type { JobRun } from '../src/run-job.js'
import { RunningJobs } from '../src/running-jobs.js'

const run = () => ({ place: -1 }) as JobRun

// Mutants: the last one is not told of its new place; what is not there is taken for another.
test('what runs is what was added and not deleted, in whatever order they come and go', () => {
  const running = new RunningJobs()
  const runs = Array.from({ length: 6 }, run)
  const [a, b, c, d, e, f] = runs as [JobRun, JobRun, JobRun, JobRun, JobRun, JobRun]
  for (const one of [a, b, c, d]) running.add(one)
  expect([running.delete(a), running.delete(a), running.delete(d), running.delete(e)]).toEqual([
    true,
    false,
    true,
    false,
  ])
  running.add(e)
  expect(new Set(running)).toEqual(new Set([b, c, e]))
  expect([running.delete(c), running.delete(b), running.delete(b), running.delete(f)]).toEqual([
    true,
    true,
    false,
    false,
  ])
  expect([[...running], running.size]).toEqual([[e], 1])
})

test('who goes through them sees all that ran, also those that end meanwhile', () => {
  const running = new RunningJobs()
  const runs = Array.from({ length: 3 }, run)
  for (const one of runs) running.add(one)
  const seen: JobRun[] = []
  for (const one of running) {
    seen.push(one)
    for (const other of runs) running.delete(other)
  }
  expect(seen).toEqual(runs)
  expect(running.size).toBe(0)
})
