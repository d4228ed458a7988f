import { expect, onTestFinished, test } from 'vitest'
import { all, next, numbered, numbers, queue, until } from './queue.js'

const db = await queue()
await db.rows('create schema pooler')
await db.rows('create function pooler.pg_backend_pid() returns integer language sql as $$ select -1 $$')
/** As behind a pooler, by the process id that it makes up: nothing is set for the session. */
const connection = { connectionString: db.url, options: '-c search_path=pooler,public,pg_catalog' }
const task = numbered('work', { mode: 'at-most-once' })

// Mutant: no limits: the claim is given up after 10 s, and may delete its jobs when the lock is gone.
test('a claim that waits for a lock ends by itself, and leaves its jobs where they are', async () => {
  const ran: number[] = []
  await task.enqueueMany(db.pool, numbers(3))
  const letGo = await db.hold('lock table pgq.jobs in share mode')
  const worker = db.idleWorker([task.handle((n) => void ran.push(n))], { connection })
  const lost = next(worker, 'database.lost')
  await worker.start()
  expect(await lost).toMatchObject({ error: { code: '55P03' } })
  expect(ran).toEqual([])
  await letGo()
  await until(() => ran.length === 3)
  expect(ran.toSorted()).toEqual([0, 1, 2])
}, 20_000)

// Mutant: claims of a stream in one transaction: that of the one that fails takes back what the other was answered, so its jobs run twice.
test('a claim that fails beside another one: no job runs twice', async () => {
  await db.rows(`create sequence deletes;
    create function fail() returns trigger language plpgsql as $$
      begin if nextval('deletes') % 3 = 0 then raise 'not now' using errcode = '55P03'; end if; return null; end $$;
    create trigger fail before delete on pgq.jobs for each statement execute function fail()`)
  onTestFinished(() => db.rows('drop function fail cascade; drop sequence deletes') as Promise<never>)
  await task.enqueueMany(db.pool, numbers(5_000))
  const ran: number[] = []
  const worker = db.idleWorker([task.handle((n) => void ran.push(n))], { connection, concurrency: 200 })
  const lost = all(worker, 'database.lost')
  await worker.start()
  await until(async () => (await db.value('select count(*)::integer from pgq.jobs')) === 0)
  await worker.stop()
  expect(lost).not.toEqual([])
  expect(ran).toHaveLength(5_000)
  expect(new Set(ran).size).toBe(5_000)
})
