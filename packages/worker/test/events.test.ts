import { once } from 'node:events'
import { claimIntoLease, registerWorker } from '@pgq/core'
import { sql } from 'kysely'
import pg from 'pg'
import { beforeAll, describe, expect, test } from 'vitest'
import { Events } from '../src/events.js'
import { all, gate, MODES, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
beforeAll(() =>
  db.pool.query(`create table parents (id integer primary key);
    create table children (parent integer references parents deferrable initially deferred); insert into parents values (1)`),
)
const events = () => {
  const reported: string[] = []
  return { events: new Events((error, event) => reported.push(`${event}: ${(error as Error).message}`)), reported }
}
const started = (workerId: number) => ({ workerId, queues: ['default'], tasks: ['work'] })
const fail = (message: string) => () => {
  throw new Error(message)
}

describe('observers', () => {
  test('get what is emitted from then on, in the order they came, until they go', () => {
    const { events: all } = events()
    const seen: string[] = []
    all.emit('worker.started', started(0))
    const forget = all.on('worker.started', ({ workerId }) => seen.push(`a${workerId}`))
    all.on('worker.started', ({ workerId }) => seen.push(`b${workerId}`))
    all.on('worker.stopped', () => seen.push('another event'))
    all.emit('worker.started', started(1))
    forget()
    forget()
    all.emit('worker.started', started(2))
    expect(seen).toEqual(['a1', 'b1', 'b2'])
  })

  test('of one event, twice the same function: each is taken back by itself', () => {
    const { events: all } = events()
    let calls = 0
    const observer = () => {
      calls += 1
    }
    const forget = all.on('worker.stopped', observer)
    all.on('worker.stopped', observer)
    forget()
    all.emit('worker.stopped', { workerId: 1 })
    expect(calls).toBe(1)
    expect([all.has('worker.stopped'), all.has('worker.started')]).toEqual([true, false])
  })

  // Mutant: emit without try.
  test('that throw are reported with the event; the others get theirs', () => {
    const { events: all, reported } = events()
    const seen: number[] = []
    all.on('worker.started', fail('mine'))
    all.on('worker.started', ({ workerId }) => seen.push(workerId))
    all.emit('worker.started', started(7))
    expect(seen).toEqual([7])
    expect(reported).toEqual(['worker.started: mine'])
  })

  // Mutant: the answer of an observer not looked at: an unhandled rejection ends the process.
  test('that reject are reported as well', async () => {
    const { events: all, reported } = events()
    all.on('worker.started', async () => fail('later')())
    all.emit('worker.started', started(7))
    await null
    expect(reported).toEqual(['worker.started: later'])
  })

  // Mutants: a name that no event has is listened to for ever; only the first letter compared; an observer that fails at the first event.
  test('of an event that does not exist, and those that are no function, are refused', () => {
    const { events: all } = events()
    const on = all.on.bind(all) as (name: unknown, observer: unknown) => unknown
    const observer = () => {}
    for (const [name, given, message] of [
      [
        'job.setled',
        observer,
        'worker.on: unknown event job.setled; did you mean job.settled? The events are worker.started, ',
      ],
      ['failed', observer, 'unknown event failed; did you mean schedule.failed?'],
      ['zzz', observer, 'unknown event zzz. The events are'],
      ['toString', observer, 'unknown event toString'],
      [undefined, observer, 'unknown event undefined'],
      [
        'job.settled',
        undefined,
        'worker.on("job.settled"): the observer is undefined; give a function: (event) => ...',
      ],
      ['job.settled', { handle: observer }, 'the observer is [object Object]'],
    ] as const)
      expect(() => on(name, given)).toThrow(
        expect.objectContaining({ code: 'PGQ_INVALID_OPTION', message: expect.stringContaining(message) }),
      )
  })

  test('that throw when nobody listens to the report change nothing', () => {
    const all = new Events(fail('the logger is broken'))
    all.on('worker.started', fail('mine'))
    expect(() => all.emit('worker.started', started(7))).not.toThrow()
  })
})

// Mutants: emit without try; a report without try: the loop ends, or the worker does not start.
test.each(MODES)('%s: jobs run although every observer and every line of the logger throws', async (mode) => {
  const task = numbered('work', { mode })
  const broken = fail('broken')
  const seen: number[] = []
  const worker = db.idleWorker([task.handle((n) => seen.push(n))], {
    logger: { debug: broken, info: broken, warn: broken, error: broken },
  })
  const names = ['worker.started', 'jobs.claimed', 'job.started', 'job.settled', 'worker.stopping', 'worker.stopped']
  for (const name of names) {
    worker.on(name as 'job.settled', broken)
    worker.on(name as 'job.settled', async () => broken())
  }
  await worker.start()
  for (const n of [1, 2]) {
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, n)
    await settled
  }
  await worker.stop()
  expect(seen).toEqual([1, 2])
})

describe('each event comes after it is true', () => {
  const connections = () => db.workerConnections()

  test('worker.started, worker.stopping and worker.stopped', async () => {
    const go = gate()
    const task = numbered()
    const worker = db.idleWorker([task.handle(() => go.opened)])
    const started = next(worker, 'worker.started')
    const stopping = next(worker, 'worker.stopping')
    let alive: Promise<[string, number]> | undefined
    worker.on('worker.stopped', () => {
      alive ??= Promise.all([db.value('select count(*) from pgq.workers'), connections()])
    })
    expect(worker.id).toBe(0)
    await worker.start()
    expect(worker.id).toBeGreaterThan(0)
    expect((await started).workerId).toBe(worker.id)
    const running = next(worker, 'job.started')
    await task.enqueue(db.pool, 1)
    await running
    const stopped = worker.stop()
    expect(await stopping).toEqual({ workerId: worker.id, running: 1 })
    expect(alive).toBeUndefined()
    await task.enqueue(db.pool, 2)
    go.open()
    await stopped
    expect(await alive).toEqual(['0', 0])
    expect(await db.value('select args from pgq.jobs')).toBe(2)
  })

  test('jobs.claimed and job.started: the job is held, its attempt counted, its handler not yet called', async () => {
    const task = numbered()
    const seen: string[] = []
    const worker = await db.worker([
      task.handle(async () => {
        seen.push('handler')
        const held = await db.rows('select state, attempt, worker_id from pgq.job_states')
        expect(held).toEqual([{ state: 'running', attempt: 1, worker_id: worker.id }])
      }),
    ])
    worker.on('jobs.claimed', ({ mode, jobs }) => seen.push(`${jobs} ${mode}`))
    worker.on('job.started', (event) => {
      seen.push('started')
      expect(event).toEqual({ jobId: '1', task: 'work', queue: 'default', attempt: 1, mode: 'at-least-once' })
    })
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    expect((await settled).outcome).toEqual({ type: 'success' })
    expect(seen).toEqual(['1 at-least-once', 'started', 'handler'])
  })

  // Mutant: emit before the settlement is awaited. The row lock stops the statement that writes it.
  test.each([
    ['at-least-once', 'complete', 'select from pgq.leases for update'],
    ['at-least-once', 'requeue', 'select from pgq.leases for update'],
    ['at-most-once', 'bury', 'lock table pgq.dead_jobs'],
    ['transactional', 'requeue', 'lock table pgq.dead_jobs in exclusive mode'],
    ['transactional', 'complete', 'select from parents for update'],
  ] as const)('job.settled, %s: the settlement %s is durable', async (mode, kind, lock) => {
    const [began, go] = [gate(), gate()]
    const task = numbered('work', mode === 'at-most-once' ? { mode } : { mode, retry: { minDelayMs: 60_000 } })
    const worker = await db.worker([
      task.handle(async (_, job: any) => {
        began.open()
        await go.opened
        if (kind !== 'complete') throw new Error('not this time')
        if (mode === 'transactional') await sql`insert into children values (1)`.execute(job.trx)
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await began.opened
    const release = await db.hold(lock)
    go.open()
    await db.blocked()
    await pause(20)
    expect(settled).toEqual([])
    await release()
    await until(() => settled.length === 1)
    expect(settled[0]!.settlement.kind).toBe(kind)
    const left = { complete: [], requeue: ['scheduled'], bury: ['dead'] }[kind]
    expect((await db.rows('select state from pgq.job_states')).map(({ state }) => state)).toEqual(left)
  })

  test('job.settled tells how long the job waited and ran', async () => {
    const task = numbered()
    await task.enqueue(db.pool, 1)
    await db.pool.query("update pgq.jobs set ready_at = now() - interval '1 minute'")
    const worker = db.idleWorker([task.handle(() => pause(30))])
    const settled = next(worker, 'job.settled')
    await worker.start()
    const { waitMs, durationMs } = await settled
    expect(waitMs).toBeGreaterThan(59_000)
    expect(waitMs).toBeLessThan(90_000)
    expect(durationMs).toBeGreaterThanOrEqual(28)
  })

  test('job.released: the job waits again, its attempt not counted', async () => {
    const task = numbered()
    const worker = await db.worker([task.handle((_, { signal }) => once(signal, 'abort').then(() => fail('late')()))], {
      graceMs: 0,
    })
    const started = next(worker, 'job.started')
    await task.enqueue(db.pool, 1)
    await started
    const released = next(worker, 'job.released')
    const rows = released.then(() => db.rows('select attempt, execute_at from pgq.jobs'))
    await worker.stop()
    expect(await rows).toEqual([{ attempt: 0, execute_at: null }])
    expect(await released).toMatchObject({ jobId: '1', attempt: 1 })
  })

  test('workers.rescued: the jobs are back', async () => {
    const client = new pg.Client(db.url)
    await client.connect()
    const lost = await registerWorker(client, 'pgq', { hostname: 'here', pid: 1, queues: ['default'], tasks: ['lost'] })
    await numbered('lost').enqueue(db.pool, 1)
    const range = { queues: ['default'], after: ['-9223372036854775808'], upto: ['9223372036854775807'] }
    const claim = { workerId: lost, number: 1, ...range, tasks: ['lost'], limit: 1, maxBytes: 1_000 }
    expect(await claimIntoLease(client, 'pgq', claim)).toHaveLength(1)
    await client.end()
    const other = db.idleWorker([numbered().handle(() => {})])
    const rescued = next(other, 'workers.rescued')
    await other.start()
    expect(await rescued).toEqual({ workers: [lost], requeued: 1, buried: 0 })
    expect(await db.rows('select state, attempt, crash_count from pgq.job_states')).toEqual([
      { state: 'ready', attempt: 0, crash_count: 1 },
    ])
  })
})

describe('runs that are settled together', () => {
  // Mutants: one batch for all tasks; what is left at the end is not told, or after the end.
  test.each(MODES)('%s: are told together, each once, all before the end', async (mode) => {
    const [work, other] = [numbered('work', { mode }), numbered('other', { mode })]
    const worker = await db.worker([work.handle(() => {}), other.handle(() => undefined)])
    const batches = all(worker, 'jobs.settled')
    const single = all(worker, 'job.settled')
    let atTheEnd = 0
    worker.on('worker.stopped', () => {
      atTheEnd = batches.length
    })
    await work.enqueueMany(db.pool, numbers(100))
    await other.enqueue(db.pool, 1)
    await until(() => single.length === 101)
    await worker.stop()
    expect(atTheEnd).toBe(batches.length)
    expect(batches.length).toBeLessThan(101)
    const runsOf = (task: string) => batches.filter((batch) => batch.task === task).flatMap(({ runs }) => runs)
    expect([runsOf('work').length, runsOf('other').length]).toEqual([100, 1])
    expect(new Set(batches.map((batch) => `${batch.mode} ${batch.queue}`))).toEqual(new Set([`${mode} default`]))
    const durations = ({ waitMs, durationMs }: { waitMs: number; durationMs: number }) => waitMs + durationMs
    const sum = (all: readonly number[]) => all.reduce((total, ms) => total + ms, 0)
    expect(sum(batches.flatMap(({ runs }) => runs.map(durations)))).toBeCloseTo(sum(single.map(durations)))
  })

  test('what runs can be asked for, by its labels', async () => {
    const work = numbered('work')
    const { open, opened } = gate()
    const worker = await db.worker([work.handle(() => opened)])
    const started = next(worker, 'job.started')
    await work.enqueue(db.pool, 1)
    const label = await started
    expect(worker.running).toEqual([label])
    const settled = next(worker, 'job.settled')
    open()
    await settled
    expect(worker.running).toEqual([])
  })
})
