import { once } from 'node:events'
import type { Job } from '@pgq/core'
import { startProxy } from '@pgq/test-db'
import { describe, expect, test, vi } from 'vitest'
import { all, gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'
import { workerProcess } from './worker-process.js'

const db = await queue()
const { url } = db

/** Runs until its signal aborts. */
const untilAborted = async (_: unknown, job: unknown): Promise<void> => {
  const { signal } = job as Job
  await once(signal, 'abort')
  signal.throwIfAborted()
}
const states = () => db.rows('select state, attempt, crash_count, args from pgq.job_states order by id')
/** Nothing of any worker is left in the database. */
async function nothingLeft(): Promise<void> {
  const left = await db.rows(`select 'worker' as what from pgq.workers union all select 'lease' from pgq.leases
    union all select 'doorbell' from pgq.idle_workers`)
  expect(left).toEqual([])
  await until(async () => (await db.workerConnections()) === 0, 5_000)
}

describe.each(MODES)('stop(), %s', (mode) => {
  const task = numbered('work', { mode })

  // Mutant: a loop that looks at the end only after its poll.
  test('an idle worker stops at once', async () => {
    const worker = await db.worker([task.handle(() => {})], { pollMs: 60_000 })
    await until(async () => (await db.value('select count(*) from pgq.idle_workers')) === '1')
    const start = performance.now()
    await worker.stop()
    expect(performance.now() - start).toBeLessThan(1_000)
    await nothingLeft()
  })

  // Mutant: stop() that aborts at once.
  test('running handlers end in peace; nothing new begins', async () => {
    const go = gate()
    const aborted: boolean[] = []
    const worker = await db.worker(
      [
        task.handle(async (_, { signal }) => {
          await go.opened
          aborted.push(signal.aborted)
        }),
      ],
      { concurrency: 2, graceMs: 20_000 },
    )
    const started = all(worker, 'job.started')
    await task.enqueueMany(db.pool, numbers(5))
    await until(() => started.length === 2)
    const stopped = worker.stop()
    await pause(50)
    go.open()
    await stopped
    expect(aborted).toEqual([false, false])
    expect(await states()).toEqual([2, 3, 4].map((args) => ({ state: 'ready', attempt: 0, crash_count: 0, args })))
    await nothingLeft()
  })

  // Mutants: a job given back with its attempt counted; an at-most-once job that began given back: it would run twice.
  test('after graceMs their signals abort, and their jobs go back with all their attempts', async () => {
    const worker = await db.worker([task.handle(untilAborted)], { concurrency: 2, graceMs: 100 })
    const [started, released, settled] = [
      all(worker, 'job.started'),
      all(worker, 'job.released'),
      all(worker, 'job.settled'),
    ]
    await task.enqueueMany(db.pool, numbers(2))
    await until(() => started.length === 2)
    const start = performance.now()
    await worker.stop()
    expect(performance.now() - start).toBeGreaterThan(90)
    expect(performance.now() - start).toBeLessThan(2_000)
    if (mode === 'at-most-once') {
      expect(await states()).toEqual([0, 1].map((args) => ({ state: 'dead', attempt: 1, crash_count: 0, args })))
      expect([released.length, settled.length]).toEqual([0, 2])
    } else {
      expect(await states()).toEqual([0, 1].map((args) => ({ state: 'ready', attempt: 0, crash_count: 0, args })))
      expect([released.length, settled.length]).toEqual([2, 0])
    }
    await nothingLeft()
  })

  test('a handler that heeds nothing is left behind: its job goes back, and stop() resolves', async () => {
    const go = gate()
    const worker = await db.worker([task.handle(() => go.opened)], { graceMs: 0 })
    const [started, stuck] = [all(worker, 'job.started'), all(worker, 'job.stuck')]
    await task.enqueue(db.pool, 1)
    await until(() => started.length === 1)
    const start = performance.now()
    await worker.stop()
    expect(performance.now() - start).toBeLessThan(4_000)
    expect(stuck.length).toBe(1)
    expect((await states()).map(({ state }) => state)).toEqual([mode === 'at-most-once' ? 'dead' : 'ready'])
    await nothingLeft()
    go.open()
  })

  // Mutant: what was claimed ahead is settled, or lost with at-most-once.
  test('jobs that were claimed and not started go back as they were, in their places', async () => {
    const go = gate()
    let runs = 0
    const worker = db.idleWorker([task.handle(() => (++runs > 500 ? go.opened : undefined))], { concurrency: 2 })
    await task.enqueueMany(db.pool, numbers(900))
    const positions = () =>
      db.rows('select id, position, priority, attempt, args, ready_at, created_at from pgq.jobs order by id')
    const before = await positions()
    await worker.start()
    await until(() => runs === 502)
    if (mode !== 'transactional') await until(async () => (await positions()).length < 398)
    const stopped = worker.stop()
    await until(async () => (await positions()).length >= 398)
    go.open()
    await stopped
    expect(await positions()).toEqual(before.slice(502))
    await nothingLeft()
  })

  test('while jobs are claimed and started: each runs once or waits unharmed', async () => {
    const runs = new Map<number, number>()
    for (let round = 0; round < 4; round++) {
      await task.enqueueMany(db.pool, numbers((round + 1) * 200).slice(round * 200))
      const worker = await db.worker([task.handle((n) => void runs.set(n, (runs.get(n) ?? 0) + 1))])
      await pause(round * 4)
      await worker.stop()
      expect(await db.value('select count(*)::integer from pgq.jobs')).toBe((round + 1) * 200 - runs.size)
    }
    expect([...runs.values()].filter((times) => times !== 1)).toEqual([])
    expect((await states()).every(({ state, attempt }) => state === 'ready' && attempt === 0)).toBe(true)
    await nothingLeft()
  })
})

// Mutant: it is waited for as long as a claim into a lease, which a rescue finds: the jobs are deleted, and nobody is left to put them back.
test('stop() waits for an at-most-once claim, and gives back what it brings', async () => {
  const task = numbered('work', { mode: 'at-most-once' })
  await task.enqueueMany(db.pool, numbers(10))
  const worker = db.idleWorker([task.handle(() => {})])
  const released = all(worker, 'job.released')
  const letGo = await db.hold('lock table pgq.jobs in share mode')
  await worker.start()
  await db.blocked()
  const stopped = worker.stop()
  await pause(2_500) // longer than for those
  await letGo()
  await stopped
  expect(released).toHaveLength(10)
  expect(await db.value('select count(*)::integer from pgq.jobs')).toBe(10)
  await nothingLeft()
})

describe('start() and stop()', () => {
  const task = numbered()

  // Mutant: a second shutdown for a second call.
  test('stop() twice, at once and later: one stop, and both resolve when it is done', async () => {
    const go = gate()
    const worker = await db.worker([task.handle(() => go.opened)], { graceMs: 20_000 })
    const [stopping, stopped] = [all(worker, 'worker.stopping'), all(worker, 'worker.stopped')]
    const started = next(worker, 'job.started')
    await task.enqueue(db.pool, 1)
    await started
    const calls = [worker.stop(), worker.stop()]
    let resolved = 0
    for (const call of calls) void call.then(() => resolved++)
    await pause(30)
    expect(resolved).toBe(0)
    go.open()
    await Promise.all(calls)
    await worker.stop()
    expect([stopping.length, stopped.length]).toEqual([1, 1])
  })

  test('start() twice, or after stop(), is refused', async () => {
    const worker = await db.worker([task.handle(() => {})])
    await expect(worker.start()).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: 'This worker was started before: create a new one.',
    })
    await worker.stop()
    await expect(worker.start()).rejects.toThrow('create a new one')
    const never = db.idleWorker([task.handle(() => {})])
    await never.stop()
    await expect(never.start()).rejects.toThrow('create a new one')
    await nothingLeft()
  })

  // Mutants: listeners of signals that stay; a stop() that resolves before the connections are closed.
  test('when stop() resolves, sockets and listeners are gone', async () => {
    const open = () => [
      process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length,
      process.listenerCount('SIGTERM'),
      process.listenerCount('SIGINT'),
    ]
    await Promise.all([task.enqueue(db.pool, 0), task.enqueue(db.pool, 1)]) // opens what the test itself needs
    const before = open()
    const handlers = MODES.map((mode) => numbered(mode === 'at-least-once' ? 'work' : mode, { mode }).handle(() => {}))
    const workers = [1, 2].map(() => db.idleWorker(handlers, { handleSignals: true }))
    await Promise.all(workers.map((worker) => worker.start()))
    expect(open()[0]).toBeGreaterThan(before[0]!)
    // Several workers of a process share the listeners.
    expect(open().slice(1)).toEqual([before[1]! + 1, before[2]! + 1])
    await workers[0]!.stop()
    expect(open().slice(1)).toEqual([before[1]! + 1, before[2]! + 1])
    await workers[1]!.stop()
    expect(open()).toEqual(before)
  })

  // Mutants: a start that goes on after the stop; a stop that does not wait for the start: its row stays.
  test('stop() during start(), at any moment: both settle, and nothing is left', async () => {
    const listeners = process.listenerCount('SIGTERM')
    for (let ms = 0; ms < 60; ms += 4) {
      const worker = db.idleWorker([task.handle(() => {})], { handleSignals: true })
      const told: string[] = []
      for (const name of ['worker.started', 'worker.stopping', 'worker.stopped'] as const)
        worker.on(name, () => told.push(name))
      const started = worker.start()
      await pause(ms)
      await worker.stop()
      await started
      expect(told.filter((name) => name !== 'worker.started')).toEqual(['worker.stopping', 'worker.stopped'])
      expect(told.indexOf('worker.started')).toBeLessThanOrEqual(0)
      expect(await db.value('select count(*) from pgq.workers')).toBe('0')
      expect(process.listenerCount('SIGTERM')).toBe(listeners)
    }
    await nothingLeft()
    // It really is over: nobody takes this job.
    await task.enqueue(db.pool, 1)
    await pause(100)
    expect((await states()).map(({ state }) => state)).toEqual(['ready'])
  })

  test('a start that fails leaves nothing behind, and says what is wrong', async () => {
    const unmigrated = db.idleWorker([numbered('x', { schema: 'elsewhere' }).handle(() => {})], { schema: 'elsewhere' })
    await expect(unmigrated.start()).rejects.toMatchObject({ code: 'PGQ_NOT_MIGRATED' })
    const unreachable = db.idleWorker([task.handle(() => {})], { connection: { host: '127.0.0.1', port: 1 } })
    await expect(unreachable.start()).rejects.toMatchObject({
      code: 'ECONNREFUSED',
      message: expect.stringContaining('Cannot connect to PostgreSQL at 127.0.0.1:1: connect ECONNREFUSED'),
    })
    await Promise.all([unmigrated.stop(), unreachable.stop()])
    await nothingLeft()
  })

  // Mutant: load without its catch; the connection is blamed: "Cannot connect to PostgreSQL at ...: Must use import to load ES Module".
  test('a Kysely that cannot be loaded is told as such', async () => {
    vi.doMock('../src/delivery/handler-transaction.js', () => {
      throw new Error('no such package')
    })
    const worker = db.idleWorker([numbered('x', { mode: 'transactional' }).handle(() => {})])
    await expect(worker.start()).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringMatching(/^Transactional handlers need kysely, which cannot be loaded: /),
    })
    vi.doUnmock('../src/delivery/handler-transaction.js')
    await nothingLeft()
  })
})

describe('stop() while the database is away', { timeout: 30_000 }, () => {
  // Mutant: a close that waits for an answer, or a settlement that is tried for ever: stop() never resolves.
  test.each(['refused', 'black hole'])('%s: it resolves in some seconds, in every mode', async (outage) => {
    const proxy = await startProxy(Number(new URL(url).port))
    const stopTimes = MODES.map(async (mode) => {
      const go = gate()
      const task = numbered(mode, { mode })
      const worker = await db.worker(
        [
          task.handle(async () => {
            await go.opened
            throw new Error('an outcome that must be written')
          }),
        ],
        { connection: { connectionString: proxy.through(url) }, graceMs: 500, concurrency: 2 },
      )
      const started = next(worker, 'job.started')
      await task.enqueue(db.pool, 1)
      await started
      await ready.enter()
      go.open()
      const start = performance.now()
      await worker.stop()
      return performance.now() - start
    })
    const ready = meeting(MODES.length, async () => {
      if (outage === 'refused') await proxy.close()
      else proxy.pause()
    })
    for (const ms of await Promise.all(stopTimes)) expect(ms).toBeLessThan(15_000)
    await proxy.close()
  })

  test('a worker process with outcomes that nobody takes ends by itself', async () => {
    const proxy = await startProxy(Number(new URL(url).port))
    const worker = workerProcess({ url: proxy.through(url), modes: MODES, runMs: 200, worker: { graceMs: 500 } })
    await worker.heard('ready')
    for (const mode of MODES) await numbered(mode, { mode }).enqueue(db.pool, 1)
    await worker.heard('run', 3)
    await proxy.close()
    worker.kill('SIGTERM')
    expect(await worker.heard('resources')).toEqual([])
    expect(await worker.ended).toEqual({ code: 0, signal: null })
  })
})

/** Resolves for all when so many have entered and the work in between is done. */
function meeting(size: number, work: () => Promise<void>): { enter(): Promise<void> } {
  const { opened, open } = gate()
  let entered = 0
  return {
    async enter() {
      if (++entered === size) await work().then(open)
      await opened
    },
  }
}

describe('a worker process', { timeout: 30_000 }, () => {
  // Mutants: handleSignals that does nothing (it dies of the signal: code null); a timer, listener or socket that survives stop().
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s: when idle it ends by itself at once, with nothing left open',
    async (signal) => {
      const worker = workerProcess({ url, modes: MODES, tell: ['worker.stopped'] })
      await worker.heard('ready')
      const start = performance.now()
      worker.kill(signal)
      expect(await worker.heard('resources')).toEqual([])
      expect(await worker.ended).toEqual({ code: 0, signal: null })
      expect(performance.now() - start).toBeLessThan(3_000)
      await nothingLeft()
    },
  )

  test('SIGTERM drains: what runs is finished, what waits stays', async () => {
    const worker = workerProcess({ url, modes: MODES, runMs: 400, worker: { concurrency: 2 } })
    await worker.heard('ready')
    for (const mode of MODES) await numbered(mode, { mode }).enqueueMany(db.pool, numbers(4))
    await worker.heard('run', 6)
    worker.kill('SIGTERM')
    expect(await worker.heard('resources')).toEqual([])
    expect(await worker.ended).toEqual({ code: 0, signal: null })
    expect(await db.rows('select n from effects order by n')).toEqual([0, 0, 0, 1, 1, 1].map((n) => ({ n })))
    expect((await states()).map(({ state, args }) => [state, args])).toEqual(
      MODES.flatMap(() => [
        ['ready', 2],
        ['ready', 3],
      ]),
    )
    await nothingLeft()
  })

  test('SIGTERM, and after graceMs the signals of its handlers', async () => {
    const worker = workerProcess({ url, modes: MODES, runMs: 60_000, worker: { graceMs: 100 } })
    await worker.heard('ready')
    for (const mode of MODES) await numbered(mode, { mode }).enqueue(db.pool, 1)
    await worker.heard('run', 3)
    worker.kill('SIGTERM')
    expect(await worker.ended).toEqual({ code: 0, signal: null })
    expect(await db.rows('select task, state, attempt from pgq.job_states order by task')).toEqual([
      { task: 'at-least-once', state: 'ready', attempt: 0 },
      { task: 'at-most-once', state: 'dead', attempt: 1 },
      { task: 'transactional', state: 'ready', attempt: 0 },
    ])
    expect(await db.rows('select * from effects')).toEqual([])
  })

  // Mutant: the second signal is taken for the first.
  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('a second %s ends it at once, with code %d', async (signal, code) => {
    const worker = workerProcess({
      url,
      modes: ['at-least-once'],
      runMs: 60_000,
      heeds: false,
      tell: ['worker.stopping'],
      worker: { graceMs: 60_000 },
    })
    await worker.heard('ready')
    await numbered('at-least-once').enqueue(db.pool, 1)
    await worker.heard('run')
    worker.kill('SIGTERM')
    await worker.heard('worker.stopping')
    const start = performance.now()
    worker.kill(signal)
    expect(await worker.ended).toEqual({ code, signal: null })
    expect(performance.now() - start).toBeLessThan(1_000)
  })

  test('handleSignals: false leaves the signal to the program', async () => {
    const worker = workerProcess({ url, modes: ['at-least-once'], worker: { handleSignals: false } })
    await worker.heard('ready')
    worker.kill('SIGTERM')
    expect(await worker.ended).toEqual({ code: null, signal: 'SIGTERM' })
  })
})
