import { expect, test } from 'vitest'
import { checkHistory, countOverlaps, type Effect, type FinalState, findRepeats } from '../src/check-history.js'
import type { HistoryEvent } from '../src/history.js'

type Step = readonly [
  pid: number,
  kind: 'acknowledged' | 'started' | 'finished' | 'failed' | 'killed',
  attempt?: number,
]

/** Job 1 of the task, as it went: step by step, one ms each. */
const story = (task: string, ...steps: Step[]): HistoryEvent[] =>
  steps.map(([pid, kind, attempt = 1], at) =>
    kind === 'killed'
      ? { at, pid: 0, kind, victim: pid }
      : ({ at, pid, kind, task, n: 1, attempt, crashes: 0 } as never),
  )

const end = (state: Partial<FinalState> = {}): FinalState => ({ effects: [], left: [], dead: [], ...state })
const effect = (task: string, pid: number, attempt = 1): Effect => ({ task, n: 1, pid, attempt, crashes: 0 })

const good = story('finish', [9, 'acknowledged'], [1, 'started'], [1, 'finished'])

test('a job that was acknowledged and done once is in order', () => {
  expect(checkHistory(good, end({ effects: [effect('finish', 1)] }), { noOverlap: true })).toEqual([])
})

test('a job that was lost is not', () => {
  expect(checkHistory(good, end())).toEqual(['finish 1 was acknowledged and had no effect.'])
})

test('a job that nobody acknowledged may be missing', () => {
  expect(checkHistory(good.slice(1), end())).toEqual([])
})

test('two effects are too many where exactly one is promised', () => {
  const effects = (task: string) => end({ effects: [effect(task, 1), effect(task, 2, 2)] })
  expect(checkHistory(good, effects('finish'))).toEqual(['finish 1 had 2 effects.'])
  expect(checkHistory([], effects('transactional'))).toEqual(['transactional 1 had 2 effects.'])
  expect(checkHistory([], effects('plain'))).toEqual([])
})

test('an at-most-once job may be missing, and must not run twice', () => {
  expect(checkHistory(story('once', [9, 'acknowledged']), end())).toEqual([])
  const twice = story('once', [1, 'started'], [1, 'killed'], [2, 'started'])
  expect(checkHistory(twice, end())).toEqual(['once 1 ran 2 times.'])
})

test('two runs at the same time are told, unless a kill ended the first', () => {
  const beside = story('plain', [1, 'started'], [2, 'started', 2], [1, 'finished'], [2, 'finished'])
  const effects = [effect('plain', 1), effect('plain', 2, 2)]
  expect(checkHistory(beside, end({ effects }), { noOverlap: true })).toEqual(['Two runs of plain 1 overlapped.'])
  expect(checkHistory(beside, end({ effects }))).toEqual([])
  const after = story('plain', [1, 'started'], [1, 'killed'], [2, 'started', 2], [2, 'finished'])
  expect(checkHistory(after, end({ effects }), { noOverlap: true })).toEqual([])
})

test('overlaps are counted where there is a fence', () => {
  const beside = (task: string) => story(task, [1, 'started'], [2, 'started', 2], [1, 'finished'])
  expect(countOverlaps(beside('finish'))).toBe(1)
  expect(countOverlaps(beside('plain'))).toBe(0)
})

test('a job that starts again without having failed is told', () => {
  const names = [{ task: 'plain', n: 1 }]
  const again: Step[] = [
    [2, 'started', 2],
    [2, 'finished'],
  ]
  expect(findRepeats(story('plain', [1, 'started'], [1, 'finished'], ...again))).toMatchObject(names)
  expect(findRepeats(story('plain', [1, 'started'], [1, 'killed'], ...again))).toMatchObject(names)
  expect(findRepeats(story('plain', [1, 'started'], [1, 'failed'], ...again))).toEqual([])
})

test('a run that starts when the job is done is told', () => {
  const again = [...good, ...story('finish', [2, 'started', 2]).map((event) => ({ ...event, at: 10 }))]
  const problems = checkHistory(again, end({ effects: [effect('finish', 1)] }), { noOverlap: true })
  expect(problems).toEqual(['finish 1 started again 8 ms after it was done.'])
})

test('what was left or buried is told, unless it was to be buried', () => {
  const job = { task: 'finish', n: 1 }
  expect(checkHistory([], end({ left: [job] }))).toEqual(['finish 1 was left in the queue.'])
  expect(checkHistory([], end({ dead: [job] }))).toEqual(['finish 1 was buried.'])
  expect(checkHistory(good.slice(0, 2), end({ dead: [job] }), { buried: () => true })).toEqual([])
})
