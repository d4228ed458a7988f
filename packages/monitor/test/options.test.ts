import { InvalidOptionError } from '@pgq/core'
import { expect, test } from 'vitest'
import * as monitor from '../src/index.js'

/** Refused before anything is asked. */
const nobody = { query: () => expect.unreachable() }

const calls: Record<string, (request: any, options?: any) => Promise<unknown>> = {
  countJobs: (request, options) => monitor.countJobs(nobody, request, options),
  listReady: (request, options) => monitor.listReady(nobody, request, options),
  listScheduled: (request, options) => monitor.listScheduled(nobody, request, options),
  listParked: (request, options) => monitor.listParked(nobody, request, options),
  listDead: (request, options) => monitor.listDead(nobody, request, options),
  listRunning: (request, options) => monitor.listRunning(nobody, request, options),
  countFitting: (request, options) => monitor.countFitting(nobody, 'dead', request, options),
  failures: (request, options) => monitor.failures(nobody, request, options),
  statistics: (request, options) => monitor.statistics(nobody, request, options),
  statisticsByTask: (request, options) => monitor.statisticsByTask(nobody, request, options),
}
const withOptions: Record<string, (options: any) => Promise<unknown>> = {
  backlog: (options) => monitor.backlog(nobody, options),
  getJob: (options) => monitor.getJob(nobody, '1', options),
  getSchedule: (options) => monitor.getSchedule(nobody, 'nightly', options),
  listSchedules: (options) => monitor.listSchedules(nobody, options),
  listWorkers: (options) => monitor.listWorkers(nobody, options),
  listPausedQueues: (options) => monitor.listPausedQueues(nobody, options),
  health: (options) => monitor.health(nobody, options),
}

test('every question is looked at here', () => {
  expect(Object.keys(monitor).sort()).toEqual([...Object.keys(calls), ...Object.keys(withOptions)].sort())
})

// Mutant: a filter that is misspelt is passed over: all jobs are listed in place of one queue's.
test.each(Object.entries(calls))('%s refuses what it does not know', async (name, call) => {
  await expect(call({ quue: 'mail' })).rejects.toThrow(`${name}: unknown option quue; did you mean queue?`)
  await expect(call({}, { shema: 'jobs' })).rejects.toThrow(`${name}: unknown option shema; did you mean schema?`)
  await expect(call('mail')).rejects.toBeInstanceOf(InvalidOptionError)
})

test.each(Object.entries(withOptions))('%s refuses what it does not know', async (name, call) => {
  await expect(call({ shema: 'jobs' })).rejects.toThrow(`${name}: unknown option shema; did you mean schema?`)
})

test.each([
  ['statistics', { since: '2020' }, 'since is "2020"; use a valid Date.'],
  ['statistics', { until: new Date(Number.NaN) }, 'until is Invalid Date; use a valid Date.'],
  ['statistics', { stepMs: '60' }, 'stepMs is "60"; use whole minutes: a multiple of 60000.'],
  ['listRunning', { limit: '5' }, 'limit is "5"; use a whole number from 1 to 10000.'],
  ['statisticsByTask', { since: 1_700_000_000 }, 'since is 1700000000; use a valid Date.'],
])('%s(%j) says what is wrong', async (name, request, message) => {
  await expect(calls[name]!(request)).rejects.toThrow(new InvalidOptionError(message))
})

test('an id that is a bigint is no text, and is said to be none', async () => {
  await expect(monitor.getJob(nobody, 5n as never)).rejects.toThrow(
    new InvalidOptionError('5 is no job id: ids are digits in a string.'),
  )
})

test.each(['x', -1, Number.NaN, null])('health({ backlogMs: %j }) says what is wrong', async (backlogMs) => {
  await expect(withOptions.health!({ backlogMs })).rejects.toThrow(/^backlogMs is .*; use milliseconds from 0\.$/)
})
