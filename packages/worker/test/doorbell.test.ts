import { snooze, workersChannel } from '@pgq/core'
import pg from 'pg'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Worker } from '../src/index.js'
import { all, gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
// Polling that would find nothing in time: what these tests see is the doorbell.
const deaf = { pollMs: 60_000 }
const asleep = (workers = 1) =>
  until(async () => (await db.value('select count(*)::integer from pgq.idle_workers')) === workers)
const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)]!

// Mutant: it tells nobody, and those who listen notice its loss at their next beat.
test('a worker that does not listen tells the others all the same that it is busy', async () => {
  const task = numbered()
  for (let n = 0; n < 2; n++) await db.worker([task.handle(() => {})], { doorbell: false })
  const client = await db.pool.connect()
  onTestFinished(() => client.release(true))
  let told = false
  client.on('notification', () => (told = true))
  await client.query(`listen ${workersChannel('pgq')}`)
  await until(() => task.enqueue(db.pool, 1).then(() => told))
})

// Mutant: the look goes at once. With the claim on the way, it takes one of two processors of the server from it.
// Mutant: a worker that has no id yet hangs its doorbell, where none is, and never again: its jobs wait for a poll.
test('a worker that was taken for dead while jobs wait hangs its doorbell under its new id', async () => {
  const task = numbered()
  const query = vi.spyOn(pg.Client.prototype, 'query')
  onTestFinished(() => query.mockRestore())
  const claims = () => query.mock.calls.filter(([sent]) => (sent as { name?: string })?.name === 'pgq.claim_into_lease')
  const hangs = () => db.value('select count(*)::integer from pgq.idle_workers join pgq.workers on id = worker_id')
  const worker = await db.worker([task.handle(() => {})], { leaseMs: 1_000 })
  await until(async () => (await hangs()) === 1)
  const replaced = next(worker, 'worker.replaced')
  await db.rows(`create function wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(1); return new; end $$;
    create trigger wait before insert on pgq.workers for each row execute function wait()`)
  onTestFinished(() => db.rows('drop function wait cascade') as Promise<never>)
  const letGo = await db.hold('select pg_advisory_xact_lock(1)')
  await db.rows('delete from pgq.workers')
  await db.blocked() // its registration
  await task.enqueue(db.pool, 1)
  const before = claims().length
  await until(() => claims().length >= before + 2) // it has looked, found that it may not claim, and fallen asleep
  await letGo()
  await replaced
  await db.empty()
  await until(async () => (await hangs()) === 1)
})

test('a ring makes the worker claim before it looks for due jobs', async () => {
  const worker = await db.worker([numbered().handle(() => {})], deaf)
  const looks = `from pg_stat_activity where datname = current_database() and query like '%with due as%' and pid <> pg_backend_pid()`
  await until(() => db.value(`select now() - max(query_start) > '500 ms' ${looks}`)) // the next one is as far away
  const query = vi.spyOn(pg.Client.prototype, 'query')
  onTestFinished(() => query.mockRestore())
  const sent = () =>
    query.mock.calls
      .map(([statement]) => (statement as unknown as { name?: string }).name)
      .filter((name) => name === 'pgq.claim_into_lease' || name === 'pgq.promote_due_jobs')
  await db.pool.query('select pg_notify($1, $2)', [`pgq_pgq_${worker.id}`, ''])
  await until(() => sent().includes('pgq.promote_due_jobs'))
  expect(sent()[0]).toBe('pgq.claim_into_lease')
})

/** Counts the rings of these workers' doorbells. */
async function ringsOf(workers: readonly Worker[]): Promise<{ rings: string[]; end(): Promise<void> }> {
  const client = await db.pool.connect()
  const rings: string[] = []
  client.on('notification', ({ channel }) => rings.push(channel))
  for (const { id } of workers) await client.query(`listen pgq_pgq_${id}`)
  return {
    rings,
    async end() {
      await client.query('unlisten *') // what was sent before has come by then
      client.removeAllListeners('notification')
      client.release()
    },
  }
}

describe.each(MODES)('%s', (mode) => {
  const task = numbered('work', { mode })

  // Mutants: no ring in the insert; LISTEN on another channel.
  test('an enqueue wakes a sleeping worker at once, again and again', async () => {
    const ran: (() => void)[] = []
    const worker = await db.worker([task.handle((n) => ran[n]?.())], deaf)
    const latencies: number[] = []
    for (let n = 0; n < 15; n++) {
      await asleep()
      const settled = next(worker, 'job.settled')
      const start = performance.now()
      ran[n] = () => latencies.push(performance.now() - start)
      await task.enqueue(db.pool, n)
      await settled
    }
    expect(latencies.length).toBe(15)
    expect(Math.max(...latencies)).toBeLessThan(5_000)
    expect(median(latencies)).toBeLessThan(250)
  })

  // Mutant: a claim until nothing is found, as in a stream.
  test('a single job now and then costs a claim, and no second one that finds nothing', async () => {
    const query = vi.spyOn(pg.Client.prototype, 'query')
    onTestFinished(() => query.mockRestore())
    const claims = () =>
      query.mock.calls.filter(([sent]) => /pgq\.claim_/.test((sent as { name?: string })?.name ?? '')).length
    const worker = await db.worker([task.handle(() => {})], deaf)
    await asleep()
    await task.enqueue(db.pool, 0)
    await next(worker, 'job.settled')
    const before = claims()
    for (let n = 1; n <= 10; n++) {
      await pause(20)
      const settled = next(worker, 'job.settled')
      await task.enqueue(db.pool, n)
      await settled
    }
    expect(claims() - before).toBeLessThanOrEqual(13) // now and then it looks by itself
  })

  // Mutant: no look after the doorbell was hung up, and no polling before. The lock holds the worker between the two.
  test('a job that comes while the worker falls asleep is not missed', async () => {
    const release = await db.hold('lock table pgq.idle_workers in exclusive mode')
    const worker = await db.worker([task.handle(() => {})], deaf)
    await db.blocked()
    await pause(400) // the look that is due a while after the worker was busy is over, too
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    const start = performance.now()
    await release()
    await settled
    expect(performance.now() - start).toBeLessThan(5_000)
  })

  // Mutant: behind a doorbell that hangs, the next look is the next poll.
  test('a transaction that enqueued before the worker fell asleep, and commits afterwards, is not missed', async () => {
    const client = await db.pool.connect()
    await client.query('begin')
    await task.enqueue(client, 1)
    const worker = await db.worker([task.handle(() => {})], deaf)
    const settled = next(worker, 'job.settled')
    await asleep()
    const start = performance.now()
    await client.query('commit')
    client.release()
    await settled
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  // Mutants: the next due time not asked for again after a ring, or after the worker was busy: it is late by up to pollMs.
  test('a delayed job starts at its time: when the worker slept, when it was busy, and before one that is due later', async () => {
    const startedAt: number[] = []
    const worker = await db.worker(
      [
        task.handle((n) => {
          startedAt[n] = performance.now()
          return n === 9 ? pause(200) : undefined
        }),
      ],
      { ...deaf, concurrency: 1 },
    )
    const settled = all(worker, 'job.settled')
    await asleep()
    const due: number[] = []
    const delayed = async (n: number, delayMs: number) => {
      due[n] = performance.now() + delayMs
      await task.enqueue(db.pool, n, { delayMs })
    }
    await delayed(0, 30_000)
    await delayed(1, 400)
    await until(() => settled.length === 1)
    await task.enqueue(db.pool, 9)
    await delayed(2, 300)
    await delayed(3, 600)
    await until(() => settled.length === 4, 10_000)
    for (const n of [1, 2, 3]) {
      expect(startedAt[n]! - due[n]!).toBeGreaterThan(-5)
      expect(startedAt[n]! - due[n]!).toBeLessThan(2_500)
    }
    expect(startedAt[0]).toBeUndefined()
  })

  test('a delayed job of a transaction that commits later starts at its time, too', async () => {
    const worker = await db.worker([task.handle(() => {})], deaf)
    await asleep()
    const client = await db.pool.connect()
    await client.query('begin')
    await task.enqueue(client, 1, { delayMs: 300 })
    await pause(100)
    const settled = next(worker, 'job.settled')
    await client.query('commit')
    client.release()
    const start = performance.now()
    await settled
    expect(performance.now() - start).toBeLessThan(2_500)
  })
})

describe.each(['at-least-once', 'transactional'] as const)('%s', (mode) => {
  // Mutant: a settlement with a delay that wakes nobody: a retry or snooze is late by up to pollMs.
  test.each([
    [
      'retry',
      { retry: { minDelayMs: 300, jitter: 0 } },
      () => {
        throw new Error('again')
      },
    ],
    ['snooze', {}, () => snooze(300)],
  ] as const)('a %s starts at its time', async (_, options, first) => {
    const task = numbered('work', { mode, ...options })
    const startedAt: number[] = []
    const worker = await db.worker(
      [
        task.handle(() => {
          startedAt.push(performance.now())
          return startedAt.length === 1 ? first() : undefined
        }),
      ],
      deaf,
    )
    const settled = all(worker, 'job.settled')
    await asleep()
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2, 10_000)
    expect(startedAt[1]! - startedAt[0]!).toBeGreaterThanOrEqual(299)
    expect(startedAt[1]! - startedAt[0]!).toBeLessThan(2_500)
  })

  test('a retry that its own worker will not see: another one starts it at its time', async () => {
    const task = numbered('work', { mode, retry: { minDelayMs: 2_000, jitter: 0 } })
    const failing = await db.worker(
      [
        task.handle(() => {
          throw new Error('again')
        }),
      ],
      deaf,
    )
    const failed = next(failing, 'job.settled')
    await asleep()
    await task.enqueue(db.pool, 1)
    await failed
    const start = performance.now()
    const other = db.idleWorker([task.handle(() => {})], deaf)
    const settled = next(other, 'job.settled')
    await other.start()
    await failing.stop()
    expect((await settled).attempt).toBe(2)
    expect(performance.now() - start).toBeLessThan(4_500)
  })
})

describe('ten sleeping workers', () => {
  const task = numbered()

  // Mutant: a ring for each of them: every enqueue would make all of them look.
  test('one job wakes one of them', async () => {
    const workers = await Promise.all(Array.from({ length: 10 }, () => db.worker([task.handle(() => {})], deaf)))
    await asleep(10)
    const { rings, end } = await ringsOf(workers)
    for (let n = 1; n <= 10; n++) {
      const settled = Promise.race(workers.map((worker) => next(worker, 'job.settled')))
      await task.enqueue(db.pool, n)
      await settled
      await asleep(10)
      expect(rings.length).toBe(n)
    }
    await end()
    // Not always the same one.
    expect(new Set(rings).size).toBeGreaterThan(1)
  })

  // Mutant: one of all idle workers, whatever tasks it knows: the job waits until one that knows it polls.
  test('where workers of two kinds serve a queue, one of each kind is woken', async () => {
    const other = numbered('other')
    const workers = await Promise.all(
      Array.from({ length: 10 }, (_, n) => db.worker([(n < 9 ? other : task).handle(() => {})], deaf)),
    )
    await asleep(10)
    const { rings, end } = await ringsOf(workers)
    for (let n = 1; n <= 10; n++) {
      const settled = next(workers[9]!, 'job.settled')
      await task.enqueue(db.pool, n)
      await settled
      await asleep(10)
      await until(() => rings.length >= 2 * n) // they come on a connection of their own
    }
    await end()
    expect(rings.filter((channel) => channel === `pgq_pgq_${workers[9]!.id}`).length).toBe(10)
    expect(rings.length).toBe(20)
  })

  // Mutant: a worker with more than it can run that does not pass the news on.
  test('many jobs wake as many as it takes', async () => {
    const go = gate()
    const busy = new Set<number>()
    const workers = Array.from({ length: 10 }, (_, index) =>
      db.idleWorker(
        [
          task.handle(() => {
            busy.add(index)
            return go.opened
          }),
        ],
        { ...deaf, concurrency: 2 },
      ),
    )
    await Promise.all(workers.map((worker) => worker.start()))
    await asleep(10)
    await task.enqueueMany(db.pool, numbers(20))
    await until(() => busy.size === 10, 10_000)
    go.open()
    await db.empty()
  })
})

describe('without LISTEN', () => {
  // Mutant: pollMs ignored without the doorbell.
  test.each(MODES)('%s, doorbell: false: jobs are found by polling, delayed ones at their time', async (mode) => {
    const task = numbered('work', { mode })
    const worker = await db.worker([task.handle(() => {})], { doorbell: false, pollMs: 100 })
    const settled = all(worker, 'job.settled')
    for (let n = 0; n < 5; n++) {
      await pause(40)
      await task.enqueue(db.pool, n, n % 2 ? { delayMs: 50 } : {})
      await until(() => settled.length === n + 1, 5_000)
    }
    expect(await db.value('select count(*)::integer from pgq.idle_workers')).toBe(0)
    await worker.stop()
  })

  test('a doorbell that is gone without a word costs pollMs, not the job', async () => {
    const task = numbered()
    const worker = await db.worker([task.handle(() => {})], { pollMs: 300 })
    await asleep()
    await db.pool.query('delete from pgq.idle_workers')
    const settled = next(worker, 'job.settled')
    const start = performance.now()
    await task.enqueue(db.pool, 1)
    await settled
    expect(performance.now() - start).toBeLessThan(3_000)
  })
})
