import { snooze } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { gate, MODES, numbered, numbers, queue, until } from './queue.js'

const db = await queue()

/** Handlers that note what ran beside each job. Those below 0 wait for the gate. */
function watched(held?: Promise<void>) {
  const running = new Set<number>()
  const beside = new Map<number, number[]>()
  const run = async (n: number) => {
    for (const other of running) beside.get(other)!.push(n)
    beside.set(n, [...running])
    running.add(n)
    await new Promise((resolve) => setTimeout(resolve, 2))
    if (n < 0) await held
    running.delete(n)
  }
  return { run, beside, started: () => [...beside.keys()] }
}

/** Jobs that were held by two lost workers. */
const suspects = (from: number, count = 1) =>
  db.pool.query(
    `insert into pgq.jobs (task, args, crash_count)
     select 'work', to_json(n), 2 from generate_series($1::integer, $1::integer + $2 - 1) as n`,
    [from, count],
  )
const isAlone = () => db.value<boolean>('select bool_or(alone) from pgq.workers')

describe.each(MODES)('%s', (mode) => {
  // Mutants: pause() or runSuspects() without the wait for what runs; a #limit() that does not ask whether the lane is paused.
  test('they run soon under a full load, one at a time, with nothing beside them', async () => {
    const task = numbered('work', { mode })
    const { run, beside, started } = watched()
    await task.enqueueMany(db.pool, numbers(2_000))
    await db.worker([task.handle(run)], { concurrency: 4 })
    await until(() => beside.size > 20)
    await suspects(9_000, 3)
    await db.empty()
    expect([9_000, 9_001, 9_002].map((n) => beside.get(n))).toEqual([[], [], []])
    expect(started().indexOf(9_002)).toBeLessThan(1_900)
    expect(Math.max(...[...beside.values()].map((others) => others.length))).toBeGreaterThan(0)
    await until(async () => !(await isAlone()))
  })

  test('one that is stopped goes back as it was', { skip: mode === 'at-most-once' }, async () => {
    const began = gate()
    const task = numbered('work', { mode })
    await suspects(1)
    const slow = (_: number, { signal }: { signal: AbortSignal }) => {
      began.open()
      return new Promise<void>((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
    }
    const worker = await db.worker([task.handle(slow as never)], { graceMs: 0 })
    await began.opened
    await worker.stop()
    expect(await db.rows('select state, attempt, crash_count from pgq.job_states')).toEqual([
      { state: 'ready', attempt: 0, crash_count: 2 },
    ])
    expect(await db.rows('select id from pgq.workers')).toEqual([])
  })
})

// Mutants: a worker that goes alone for a suspect that another one has gone alone for.
test('a worker waits for what it runs; the others go on', async () => {
  const go = gate()
  const task = numbered()
  const first = watched(go.opened)
  await task.enqueueMany(db.pool, [{ args: -1 }])
  await db.worker([task.handle(first.run)], { concurrency: 2 })
  await until(() => first.beside.size === 1)
  await suspects(9_000)
  await until(isAlone)
  const second = watched()
  await db.worker([task.handle(second.run)], { concurrency: 2 })
  await task.enqueueMany(db.pool, numbers(20))
  await until(() => second.beside.size === 20)
  expect(first.started()).toEqual([-1])
  go.open()
  await until(() => first.beside.size + second.beside.size === 22)
  expect([first, second].map(({ beside }) => beside.get(9_000)).filter(Boolean)).toEqual([[]])
})

// Mutant: the busy one, which looks more often, goes alone: the suspect waits for what runs there, and so does all that it could claim.
test('an idle worker takes it from one that is busy', async () => {
  const go = gate()
  const task = numbered()
  const [busy, idle] = [watched(go.opened), watched()]
  await task.enqueueMany(db.pool, [{ args: -1 }])
  await db.worker([task.handle(busy.run)], { concurrency: 1 })
  await until(() => busy.beside.size === 1)
  await db.worker([task.handle(idle.run)])
  await until(async () => (await db.value('select count(*)::integer from pgq.idle_workers')) === 1)
  await suspects(9_000)
  await until(() => idle.beside.has(9_000))
  expect(busy.started()).toEqual([-1])
  go.open()
})

// Mutant: a pause() that waits for as long as it takes.
test('a handler that goes on and on keeps a suspect waiting, and nothing else', async () => {
  const go = gate()
  const task = numbered()
  const { run, started } = watched(go.opened)
  await task.enqueueMany(db.pool, [{ args: -1 }])
  await db.worker([task.handle(run)], { concurrency: 2 })
  await until(() => started().length === 1)
  await suspects(9_000)
  await until(isAlone)
  await task.enqueueMany(db.pool, numbers(20))
  await until(() => started().length === 21)
  expect(await isAlone()).toBe(false)
  expect(started()).not.toContain(9_000)
  go.open()
})

test('suspects of two modes, and one that fails, do not meet', async () => {
  const { run, beside } = watched()
  let failed = false
  const one = numbered('work', { retry: { minDelayMs: 1, maxDelayMs: 1 } })
  const two = numbered('two', { mode: 'transactional' })
  const failing = async (n: number) => {
    await run(n)
    if (n === 1 && !failed) {
      failed = true
      throw new Error('once')
    }
  }
  await suspects(1, 3)
  await db.pool.query(
    `insert into pgq.jobs (task, args, crash_count) select 'two', to_json(n), 2 from generate_series(4, 6) as n`,
  )
  await db.worker([one.handle(failing), two.handle(run)], { concurrency: 2 })
  await db.empty()
  expect(failed).toBe(true)
  expect([...beside.entries()].sort()).toEqual([1, 2, 3, 4, 5, 6].map((n) => [n, []]))
})

// Mutant: a round of suspects that goes on while there are any: the worker runs this one again and again, and nothing else.
test('one that comes back at once, for ever, lets the others have their turns', async () => {
  const task = numbered()
  const { run, beside } = watched()
  let polls = 0
  const poll = () => {
    polls += 1
    return snooze(0)
  }
  await suspects(9_000)
  await db.worker([task.handle((n) => (n === 9_000 ? poll() : run(n)))], { concurrency: 2 })
  await until(() => polls > 2)
  await task.enqueueMany(db.pool, numbers(20))
  await until(() => beside.size === 20)
  const before = polls
  await until(() => polls > before)
})
