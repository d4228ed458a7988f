import { cancelJobs, enqueueMany } from '@pgq/core'
import { startProxy } from '@pgq/test-db'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { all, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
const proxy = await startProxy(Number(new URL(db.url).port))
const connection = { connectionString: proxy.through(db.url) }
afterAll(() => proxy.close())
const task = numbered()

/** Two workers that run two jobs each, which end when they are told to. */
async function busyWorkers() {
  const ends: (() => void)[] = []
  const handler = task.handle(() => new Promise<void>((resolve) => void ends.push(resolve)))
  const options = { connection, concurrency: 2, leaseMs: 1_000 }
  const workers = [await db.worker([handler], options), await db.worker([handler], options)]
  const rescued = workers.map((worker) => all(worker, 'workers.rescued'))
  const settled = workers.map((worker) => all(worker, 'job.settled'))
  const back = () => Promise.all(workers.map((worker) => next(worker, 'listener.restored')))
  await enqueueMany(db.pool, 'work', numbers(4))
  await until(() => ends.length === 4)
  return { ends, rescued: () => rescued.flat(), settled: () => settled.flat(), back }
}

// Mutant: who comes back first judges the others by their locks, which the outage has freed.
test('an outage of all workers is nobody’s death: their jobs go on, and end once', async () => {
  const { ends, rescued, settled, back } = await busyWorkers()
  const restored = back()
  proxy.cut()
  await restored
  await until(() => db.value('select count(*) = 2 from pgq.workers where beat_at > now() - interval $$1 s$$'))
  for (const end of ends) end()
  await until(() => settled().length === 4)
  expect(rescued()).toEqual([])
  expect(ends).toHaveLength(4)
  await db.empty()
})

/** A lease with one job, of a worker that is gone. */
const lose = (workerId: number, id: number) =>
  db.rows(`insert into pgq.leases (worker_id, number, ids, positions, created_ats, ready_ats, priorities, attempts, crash_counts, queues, tasks, args, retries, metas, errors)
    values (${workerId}, 1, '{${id}}', '{1000}', array[now()], array[now()], '{0}', '{1}', '{0}', '{default}', '{work}', array['1'::json], array[null::json], array[null::json], array[null::json])`)

describe('a job of a lost worker that no rescue can write', () => {
  beforeAll(() =>
    db.rows(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not this one'; end $$;
      create trigger refuse before insert on pgq.jobs for each row when (new.id = 1000) execute function refuse()`),
  )
  afterAll(() => db.rows('drop function refuse cascade'))
  // Mutants: a refused rescue that is a refused start; one without a beat of its own: then all workers are silent, because of one job.
  test('keeps nobody from starting, beating and working', async () => {
    await lose(900, 1_000)
    const worker = db.idleWorker([task.handle(() => {})], { leaseMs: 1_000 })
    const lost = all(worker, 'database.lost')
    const settled = all(worker, 'job.settled')
    await worker.start()
    await enqueueMany(db.pool, 'work', numbers(3))
    await until(() => settled.length === 3)
    expect(lost).toMatchObject([{ error: { message: 'not this one' } }])
    const first = await db.value('select min(beat_at) from pgq.workers')
    await until(() => db.value('select min(beat_at) > $1 from pgq.workers', [first]))
  })

  // Mutant: the next rescue takes all leases again: not one of them goes back while that job is there.
  test('keeps no other job from going back', async () => {
    for (let n = 0; n < 10; n++) await lose(900 + n, 1_000 + n)
    const worker = db.idleWorker([task.handle(() => {})], { leaseMs: 1_000 })
    const settled = all(worker, 'job.settled')
    await worker.start()
    await until(() => settled.length === 9)
    expect(await db.rows('select ids from pgq.leases')).toEqual([{ ids: ['1000'] }])
  })

  // Mutant: after a refusal a beat alone, whose answer is not read: the worker claims nothing any more, and does not know why.
  test('keeps no worker from hearing that it was taken for dead, and that a job was cancelled', async () => {
    await lose(900, 1_000)
    const ended: string[] = []
    const handler = task.handle(
      (_, { id, signal }) =>
        new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(void ended.push(id)))),
    )
    const worker = await db.worker([handler], { leaseMs: 1_000 })
    const started = next(worker, 'job.started')
    const [job] = await enqueueMany(db.pool, 'work', numbers(1))
    await started
    await cancelJobs(db.pool, { ids: [job!.id] })
    await until(() => ended.length === 1)
    const replaced = next(worker, 'worker.replaced')
    await db.rows('delete from pgq.workers')
    await replaced
  })
})

// Mutant: only what is refused counts: what takes too long takes as long again, for ever.
test('jobs of lost workers that take more time than one statement has go back all the same', async () => {
  await db.rows(`create function take_long() returns trigger language plpgsql as $$ begin
      if (select count(*) from requeued) > 2 then raise 'too long' using errcode = '57014'; end if;
      return null;
    end $$;
    create trigger take_long after insert on pgq.jobs referencing new table as requeued for each statement execute function take_long()`)
  onTestFinished(() => db.rows('drop function take_long cascade') as Promise<never>)
  for (let n = 0; n < 5; n++) await lose(900 + n, 1_000 + n)
  const worker = db.idleWorker([task.handle(() => {})], { leaseMs: 1_000 })
  const settled = all(worker, 'job.settled')
  await worker.start()
  await until(() => settled.length === 5)
})

// Mutant: old beats are believed by a worker that was away itself.
test('nor is one that is longer than the lease', async () => {
  const { ends, rescued, settled, back } = await busyWorkers()
  const restored = back()
  proxy.pause()
  proxy.cut()
  await pause(1_500)
  proxy.resume()
  await restored
  await until(() => db.value('select count(*) = 2 from pgq.workers where beat_at > now() - interval $$1 s$$'))
  for (const end of ends) end()
  await until(() => settled().length === 4)
  expect(rescued()).toEqual([])
  expect(ends).toHaveLength(4)
})
