import { promoteDueJobs } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { beforeEach, describe, expect, test } from 'vitest'
import { rowLocks } from '../src/index.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)
beforeEach(() => database.truncate())
beforeEach(() => queue.pool.query('drop extension if exists pgrowlocks; drop schema if exists extensions'))

const install = (schema = 'public') =>
  queue.pool.query(`create schema if not exists ${schema}; create extension pgrowlocks schema ${schema}`)

const lockedIds = async () => {
  const answer = await rowLocks(queue.pool)
  return answer.available ? answer.locks.map(({ id }) => id) : answer.remedy
}

describe('without the extension', () => {
  // Mutant: calling the function to see whether it is there.
  test("the remedy is named, it works, and the caller's transaction goes on", async () => {
    const client = await queue.pool.connect()
    await client.query('begin')
    const answer = await rowLocks(client)
    expect(answer).toEqual({ available: false, remedy: 'create extension pgrowlocks' })
    if (!answer.available) await client.query(answer.remedy)
    expect(await rowLocks(client)).toEqual({ available: true, locks: [] })
    await client.query('rollback')
    client.release()
  })
})

describe('with the extension', () => {
  // Mutants: the seed's mode 'For Update'; pgrowlocks' own pids, which are 0 for a savepoint.
  test.each([{ savepoint: false }, { savepoint: true }])(
    'a held job is seen with its worker, backend and age: %o',
    async ({ savepoint }) => {
      await install()
      const id = await queue.enqueue('mail')
      await queue.enqueue('mail', { priority: -1 })
      const worker = await queue.worker()
      const held = await queue.hold(worker, 1, { savepoint })
      expect(await rowLocks(queue.pool)).toEqual({
        available: true,
        locks: [
          {
            ...{ id, queue: 'default', task: 'mail', backendPid: held.backendPid, since: held.since },
            worker: { id: worker, hostname: 'host', pid: expect.any(Number) },
          },
        ],
      })
      await held.end('commit')
      expect(await lockedIds()).toEqual([])
    },
  )

  test('a job that nobody noted is seen all the same, the longest lock first', async () => {
    await install()
    const [first, second] = [await queue.enqueue('mail'), await queue.enqueue('mail')]
    const older = await queue.hold(await queue.worker(), 1)
    const newer = await queue.hold(await queue.worker(), 1)
    await queue.pool.query(`update pgq.workers set holding = '{}'`)
    const answer = await rowLocks(queue.pool)
    expect(answer).toMatchObject({
      locks: [
        { id: first, since: older.since },
        { id: second, since: newer.since },
      ],
    })
    expect(answer.available && answer.locks.some((lock) => 'worker' in lock)).toBe(false)
    await older.end()
    await newer.end()
    expect(await lockedIds()).toEqual([])
  })

  test("neither a promotion nor a reader's lock is a running job", async () => {
    await install()
    await queue.enqueue('mail')
    await queue.enqueue('mail', { delayMs: 3_600_000 })
    await queue.pool.query(`update pgq.jobs set execute_at = now() - interval '1 s' where execute_at is not null`)
    const client = await queue.pool.connect()
    await client.query('begin')
    await client.query('select from pgq.jobs where execute_at is null for update')
    expect(await promoteDueJobs(client, 'pgq', { queues: ['default'], limit: 10 })).toMatchObject({ promoted: 1 })
    const modes = await queue.stored<string[]>(
      `select array_agg(modes[1] order by modes[1]) from pgrowlocks('pgq.jobs')`,
    )
    expect(modes).toEqual(['For Update', 'Update'])
    expect(await lockedIds()).toEqual([])
    await client.query('rollback')
    client.release()
  })

  test('it is found in whatever schema it is', async () => {
    await install('extensions')
    const id = await queue.enqueue('mail')
    const { end } = await queue.hold(await queue.worker(), 1)
    expect(await lockedIds()).toEqual([id])
    await end()
  })
})
