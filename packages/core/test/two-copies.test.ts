import { expect, test, vi } from 'vitest'
import { z } from 'zod'
import * as core from '../src/index.js'

// As the ESM and the CJS build of the package meet in one process: an application in CommonJS, and its tests in ESM.
vi.resetModules()
const copy: typeof core = await import('../src/index.js')

const job = {} as core.Job

test('these are two copies indeed', () => {
  expect(copy.Task).not.toBe(core.Task)
})

// Mutant: a table of sinks for each copy; the application's jobs go to the database instead of the test's queue.
test('what one copy diverts, the other does not write', async () => {
  const diverted: string[] = []
  const sink: core.EnqueueSink = {
    enqueue: async (_, jobs) => {
      diverted.push(...jobs.map(({ task }) => task))
      return jobs.map(() => ({ status: 'inserted', id: '1' }))
    },
    schedule: () => Promise.reject(new Error('nothing is scheduled here')),
  }
  const executor = { query: () => Promise.reject(new Error('written')) }
  const stop = core.divertEnqueues(sink)
  await copy.enqueue(executor, 'everywhere')
  stop()
  core.divertEnqueues(sink, executor)
  await copy.enqueue(executor, 'here')
  expect(diverted).toEqual(['everywhere', 'here'])
})

// Mutant: `instanceof InvalidArgsError`; the job is tried again until its attempts are used up.
test('args that a task of one copy refuses end the job for good in the other', async () => {
  const handler = copy.defineTask('work', { args: z.object({ id: z.string() }) }).handle(() => {})
  expect(await core.runHandler(handler, { id: 1 }, job)).toMatchObject({
    type: 'fail',
    error: { code: 'PGQ_INVALID_ARGS' },
  })
})

// Mutant: `instanceof Decision`; the job counts as done.
test('a decision made with one copy is one for the other', async () => {
  const handler = copy.defineTask('work').handle(() => copy.cancel('not needed'))
  expect(await core.runHandler(handler, {}, job)).toEqual({ type: 'cancel', reason: 'not needed' })
})
