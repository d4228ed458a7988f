import { expect, test } from 'vitest'
import {
  claimAndDelete,
  claimIntoLease,
  claimSuspectAndDelete,
  claimSuspectIntoLease,
  enqueueMany,
  goAlone,
  pauseQueue,
  promoteDueJobs,
  resumeQueue,
} from '../src/index.js'
import { claimRequest, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database

/** Ready jobs whose args are their crash counts. */
async function crashed(...counts: number[]): Promise<void> {
  await enqueueMany(pool, 'work', counts.map((args) => ({ args }))) // biome-ignore format: short
  await pool.query('update pgq.jobs set crash_count = args::text::integer')
}

// Mutant: the condition on crash_count left out of a claim.
test.each([
  ['claimIntoLease', (workerId: number) => claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number: 1 })],
  ['claimAndDelete', (workerId: number) => claimAndDelete(pool, 'pgq', claimRequest(workerId))],
] as const)('%s passes over them', async (_, claim) => {
  await crashed(2, 0, 3, 1)
  expect((await claim(await newWorker(pool))).map(({ args }) => args)).toEqual([0, 1])
})

// Mutant: the condition left out there: an idle worker would look again every 25 ms, and find nothing to claim.
test('nobody who looks for ready jobs sees them', async () => {
  await crashed(2)
  const watch = { queues: ['default'], limit: 1, watchedTasks: ['work'] }
  expect(await promoteDueJobs(pool, 'pgq', watch)).toMatchObject({ ready: false, suspects: true })
})

test('they are claimed one at a time, those of the fewest crashes first, then by priority and age', async () => {
  await crashed(3, 2, 2, 1, 2)
  await pool.query('update pgq.jobs set priority = 5 where id = (select max(id) from pgq.jobs)')
  const workerId = await newWorker(pool)
  const rest = await database.rows(
    'select id from pgq.jobs where crash_count > 1 order by crash_count, priority desc, id',
  )
  const claimed: string[] = []
  for (let number = 1; number <= 2; number++) {
    const [job, ...none] = await claimSuspectIntoLease(pool, 'pgq', { ...claimRequest(workerId), number })
    expect(none).toEqual([])
    expect(job).toMatchObject({ ordinal: 1, attempt: 1, crashCount: 2, queue: 'default', task: 'work' })
    claimed.push(job!.id)
  }
  expect(await database.rows('select cardinality(ids) as jobs from pgq.leases')).toEqual([{ jobs: 1 }, { jobs: 1 }])
  for (let found = 3; found <= 4; found++)
    claimed.push((await claimSuspectAndDelete(pool, 'pgq', claimRequest(workerId)))[0]!.id)
  expect(claimed).toEqual(rest.map(({ id }) => id))
  expect(await claimSuspectAndDelete(pool, 'pgq', claimRequest(workerId))).toEqual([])
})

test('not from a paused queue, of an unknown task, before its time, or for a worker that is gone', async () => {
  await crashed(2)
  const workerId = await newWorker(pool)
  const claim = (request = {}) => claimSuspectAndDelete(pool, 'pgq', { ...claimRequest(workerId), ...request })
  await pauseQueue(pool, 'default')
  expect(await claim()).toEqual([])
  await resumeQueue(pool, 'default')
  expect(await claim({ tasks: ['other'] })).toEqual([])
  expect(await claim({ queues: ['other'] })).toEqual([])
  expect(await claim({ workerId: workerId + 1 })).toEqual([])
  await pool.query(`update pgq.jobs set execute_at = now() + interval '1 hour'`)
  expect(await claim()).toEqual([])
  await pool.query('update pgq.jobs set execute_at = null')
  expect(await claim({ queues: ['other', 'default'] })).toHaveLength(1)
})

// Mutants: without the count of the others all workers stop for one job; with those of other queues and tasks, it may wait for ever.
test('as many workers go alone as there are suspects for them', async () => {
  const go = async (workerId: number, request = {}) => goAlone(pool, 'pgq', { ...claimRequest(workerId), ...request })
  const one = await newWorker(pool)
  const two = await newWorker(pool)
  const elsewhere = await newWorker(pool, ['other'])
  await pool.query('update pgq.workers set alone = true where id = $1', [elsewhere])
  expect(await go(one)).toBe(false)
  await crashed(2)
  expect(await go(one)).toBe(true)
  expect(await go(one)).toBe(true)
  expect(await go(two)).toBe(false)
  expect(await go(one, { declines: true })).toBe(false)
  expect(await go(two)).toBe(true)
  expect(await go(one)).toBe(false)
  await crashed(0, 2)
  expect(await go(one)).toBe(true)
  await pool.query('delete from pgq.jobs')
  expect(await go(one)).toBe(false)
  expect(await database.rows('select id from pgq.workers where alone order by id')).toEqual([
    { id: two },
    { id: elsewhere },
  ])
})
