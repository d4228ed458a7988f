import { cancelJobs, returnJobs } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, expect, test } from 'vitest'
import { failures } from '../src/index.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())

/** Enqueues, claims and settles one job as failed, once before with an earlier error. */
async function fails(task: 'mail' | 'bill', kind: 'bury' | 'requeue', message: string, name = 'Error') {
  const workerId = await queue.worker()
  const id = await queue.enqueue(task)
  await queue.pool.query(`update pgq.jobs set errors = '[{"name": "Earlier", "message": "earlier"}]' where id = $1`, [
    id,
  ])
  const { number } = await queue.claim(workerId, 1)
  const error = { attempt: 2, at: '2026-01-02T03:04:05.678Z', name, message }
  const settlement =
    kind === 'bury' ? { kind, reason: 'failed' as const, error } : { kind, attempt: 2, delayMs: 3_600_000, error }
  await returnJobs(queue.pool, 'pgq', { workerId, returns: [{ number, ordinal: 1, ...settlement }] })
  return id
}

// Mutants: the first error of a job in place of its last; digits that keep alike messages apart; delayed jobs as failed ones.
test('groups dead letters and retries by task and last error, the most frequent first', async () => {
  await fails('mail', 'bury', 'no user 17')
  await fails('mail', 'requeue', 'no user 18')
  const newest = await fails('mail', 'bury', 'no user 19')
  const other = await fails('mail', 'requeue', 'no user 20', 'TypeError')
  const bill = await fails('bill', 'bury', 'refused')
  await queue.enqueue('mail', { delayMs: 3_600_000 })
  const lastAt = expect.any(Date)
  const found = await failures(queue.pool)
  expect(found.complete).toBe(true)
  expect(found.failures[0]).toStrictEqual({
    ...{ queue: 'default', task: 'mail', name: 'Error', message: 'no user 19', dead: 2, retrying: 1 },
    ...{ exampleId: newest, lastAt },
  })
  expect(found.failures.slice(1)).toEqual(
    expect.arrayContaining([
      {
        ...{ queue: 'default', task: 'mail', name: 'TypeError', message: 'no user 20', dead: 0, retrying: 1 },
        ...{ exampleId: other, lastAt },
      },
      {
        ...{ queue: 'default', task: 'bill', name: 'Error', message: 'refused', dead: 1, retrying: 0 },
        ...{ exampleId: bill, lastAt },
      },
    ]),
  )
  expect(found.failures).toHaveLength(3)
})

test('filters, and answers at most the limit', async () => {
  await fails('mail', 'bury', 'a')
  await fails('bill', 'bury', 'b')
  expect((await failures(queue.pool, { task: 'bill' })).failures).toMatchObject([{ task: 'bill' }])
  expect((await failures(queue.pool, { queue: 'other' })).failures).toEqual([])
  expect((await failures(queue.pool, { limit: 1 })).failures).toHaveLength(1)
})

// Mutant: digits by a backslash, which escapes the d there.
test('alike messages are one group, also with standard_conforming_strings = off', async () => {
  await fails('mail', 'bury', 'no user 17')
  await fails('mail', 'bury', 'no user 18')
  const client = await queue.pool.connect()
  await client.query('set standard_conforming_strings = off')
  const found = await failures(client)
  await client.query('reset standard_conforming_strings')
  client.release()
  expect(found.failures).toMatchObject([{ dead: 2 }])
})

// Mutant: a group without a name and a message.
test('leaves cancelled jobs out: they have not failed', async () => {
  const id = await queue.enqueue('mail', { delayMs: 1_000_000 })
  const retried = await fails('mail', 'requeue', 'no user')
  await queue.enqueue('bill')
  await cancelJobs(queue.pool, { ids: [id] })
  await cancelJobs(queue.pool, { task: 'bill' })
  expect(await failures(queue.pool)).toMatchObject({ complete: true, failures: [{ exampleId: retried }] })
  await cancelJobs(queue.pool, { ids: [retried] })
  expect(await failures(queue.pool)).toEqual({ complete: true, failures: [] })
})

test('says when it did not look at all of them', async () => {
  await queue.pool.query(
    `insert into pgq.dead_jobs (id, task, errors) select n, 'mail', '[{"name": "E", "message": "m"}]' from generate_series(1, 1001) as n`,
  )
  expect(await failures(queue.pool)).toMatchObject({ complete: false, failures: [{ dead: 1_000 }] })
  // Mutant: where nothing that fits was found, nobody was asked whether that was all.
  expect(await failures(queue.pool, { task: 'bill' })).toEqual({ complete: false, failures: [] })
  expect(await failures(queue.pool, { queue: 'other' })).toEqual({ complete: true, failures: [] })
})
