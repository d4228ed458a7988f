import { testDatabase } from '@pgq/test-db'
import { beforeEach, expect, test } from 'vitest'
import { countFitting } from '../src/index.js'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const { pool, ...queue } = openQueue(database)
beforeEach(() => database.truncate())

// Mutants: the filter's task or queue passed over; one state for another.
test('counts what fits, by state, queue and task', async () => {
  await everyState({ pool, ...queue })
  await queue.enqueue('bill', { queue: 'other', delayMs: 60_000 })
  const whole = (jobs: number) => ({ jobs, isWhole: true })
  expect(await countFitting(pool, 'ready')).toEqual(whole(3))
  expect(await countFitting(pool, 'ready', { queue: 'other' })).toEqual(whole(1))
  expect(await countFitting(pool, 'scheduled')).toEqual(whole(3))
  expect(await countFitting(pool, 'scheduled', { task: 'bill' })).toEqual(whole(1))
  expect(await countFitting(pool, 'scheduled', { task: 'bill', queue: 'default' })).toEqual(whole(0))
  expect(await countFitting(pool, 'dead', { task: 'mail' })).toEqual(whole(1))
})

test('of an empty queue, nothing, and that is all', async () => {
  for (const state of ['ready', 'scheduled', 'dead'] as const) {
    expect(await countFitting(pool, state, { queue: 'default' })).toEqual({ jobs: 0, isWhole: true })
    expect(await countFitting(pool, state)).toEqual({ jobs: 0, isWhole: true })
  }
})
