import { expect, test } from 'vitest'
import {
  acknowledge,
  cancelJobs,
  claimIntoLease,
  countMatching,
  defineTask,
  deleteDeadJobs,
  deleteWaitingJobs,
  enqueue,
  enqueueMany,
  finishInTransaction,
  forgetKeys,
  returnJobs,
  typed,
} from '../src/index.js'
import { claimRequest, inTransaction, newWorker, queueDatabase } from './queue-database.js'

const { pool, rows, connect } = await queueDatabase()
const task = defineTask('work', { args: typed<{ n: number }>(), priority: 3 })

const put = (n: number, unique: object = {}, options: object = {}) =>
  task.enqueue(pool, { n }, { unique: { key: 'a', ...unique }, ...options })
const jobs = () => rows('select id, args, priority, meta, execute_at is null as ready from pgq.jobs order by position')
const claim = async (number = 1) => {
  const workerId = await newWorker(pool)
  return { workerId, jobs: await claimIntoLease(pool, 'pgq', { ...claimRequest(workerId), number }) }
}

test('one job of a key, and the call says which', async () => {
  const first = await put(1)
  expect(first).toEqual({ status: 'inserted', id: expect.any(String) })
  expect(await put(2)).toEqual({ status: 'duplicate', id: first.id })
  expect(await jobs()).toEqual([{ id: first.id, args: { n: 1 }, priority: 3, meta: { key: 'a' }, ready: true }])
  // No id is used up for nothing.
  const { id } = await enqueue(pool, 'work')
  expect(Number(id)).toBe(Number(first.id) + 1)
})

test('keys of other tasks and other keys have nothing to do with it', async () => {
  const results = await Promise.all([
    put(1),
    put(1, { key: 'b' }),
    enqueue(pool, 'other', {}, { unique: { key: 'a' } }),
    task.enqueue(pool, { n: 1 }),
  ])
  expect(results.map(({ status }) => status)).toEqual(['inserted', 'inserted', 'inserted', 'inserted'])
})

// Mutant: without the look into leases; a job that runs does not count.
test('a job counts while it runs, and not after its end, whatever way it ends', async () => {
  const ends: Record<string, (workerId: number, id: string) => Promise<unknown>> = {
    acknowledged: (workerId) => acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] }),
    'acknowledged beside others': (workerId) =>
      acknowledge(pool, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [1] }] }),
    'in a transaction': (workerId, id) =>
      inTransaction(pool, 'commit', (client) =>
        finishInTransaction(client, 'pgq', { workerId, number: 1, ordinal: 1 }, id),
      ),
    dead: (workerId) =>
      returnJobs(pool, 'pgq', {
        workerId,
        returns: [{ number: 1, ordinal: 1, kind: 'bury', reason: 'failed', error: null }] as never,
      }),
  }
  for (const [name, end] of Object.entries(ends)) {
    const first = await put(1, { key: name })
    const { workerId } = await claim()
    expect(await put(2, { key: name })).toEqual({ status: 'duplicate', id: first.id })
    await end(workerId, first.id)
    expect(await put(3, { key: name }), name).toMatchObject({ status: 'inserted' })
    await pool.query('delete from pgq.jobs')
  }
})

test('a retry that waits counts, and what is deleted or cancelled does not', async () => {
  const first = await put(1)
  const { workerId } = await claim()
  await returnJobs(pool, 'pgq', { workerId, returns: [{ number: 1, ordinal: 1, kind: 'release' }] })
  expect(await put(2)).toEqual({ status: 'duplicate', id: first.id })
  await deleteWaitingJobs(pool, { ids: [first.id] })
  const second = await put(3)
  expect(second.status).toBe('inserted')
  await cancelJobs(pool, { ids: [second.id] })
  expect((await put(4)).status).toBe('inserted')
})

test('until it has started: another one may wait while it runs', async () => {
  const first = await put(1, { until: 'started' })
  expect(await put(2, { until: 'started' })).toEqual({ status: 'duplicate', id: first.id })
  await claim()
  expect(await put(3, { until: 'started' })).toMatchObject({ status: 'inserted' })
  expect(await put(4, { until: 'started' })).toMatchObject({ status: 'duplicate' })
})

test('for a time: taken from the enqueue on, though the job is done', async () => {
  const first = await put(1, { forMs: 60_000 })
  const { workerId } = await claim()
  await acknowledge(pool, 'pgq', { workerId, finished: [1], partial: [] })
  expect(await put(2, { forMs: 60_000 })).toEqual({ status: 'duplicate', id: first.id })
  await pool.query(`update pgq.job_keys set held_until = now() - interval '1 ms'`)
  expect(await put(3, { forMs: 60_000 })).toMatchObject({ status: 'inserted' })
})

test('for a time from the last call that was heeded: replacing is one', async () => {
  const first = await put(1, { forMs: 1_000 })
  await put(2, { forMs: 60_000 })
  await put(3, { forMs: 60_000, ifWaiting: 'replace' })
  await deleteWaitingJobs(pool, { ids: [first.id] })
  const [{ seconds }] = await rows(`select round(extract(epoch from held_until - now())) as seconds from pgq.job_keys`)
  expect(Number(seconds)).toBeGreaterThan(50)
  expect(await put(4, { forMs: 60_000 })).toMatchObject({ status: 'duplicate' })
})

test('replace: the job that waits becomes what was enqueued now', async () => {
  const first = await put(1, {}, { delayMs: 60_000, retry: { maxAttempts: 2 } })
  const later = await put(2, { ifWaiting: 'replace' }, { delayMs: 120_000, priority: 9, queue: 'slow' })
  expect(later).toEqual({ status: 'replaced', id: first.id })
  const [row] = await rows(
    `select args, priority, queue, retry, meta, extract(epoch from execute_at - now())::integer as seconds from pgq.jobs`,
  )
  expect(row).toEqual({ args: { n: 2 }, priority: 9, queue: 'slow', retry: null, meta: { key: 'a' }, seconds: 120 })
  // At once: behind what waits already.
  await enqueue(pool, 'work', { n: 0 }, { priority: 3 })
  await put(3, { ifWaiting: 'replace' })
  expect((await jobs()).map(({ args, ready }) => [args.n, ready])).toEqual([
    [0, true],
    [3, true],
  ])
  // And once it is ready it keeps its place.
  await enqueue(pool, 'work', { n: 9 }, { priority: 3 })
  await put(4, { ifWaiting: 'replace' })
  expect((await jobs()).map(({ args }) => args.n)).toEqual([0, 4, 9])
})

test('replace: a job that failed starts from the beginning; one that runs is left, and another waits', async () => {
  const first = await put(1)
  await pool.query(`update pgq.jobs set attempt = 5, crash_count = 2, errors = '[{"name": "Error"}]'`)
  await put(2, { ifWaiting: 'replace' })
  expect(await rows('select attempt, crash_count, errors from pgq.jobs')).toEqual([
    { attempt: 0, crash_count: 0, errors: null },
  ])
  const { jobs: claimed } = await claim()
  expect(claimed[0]).toMatchObject({ id: first.id, args: { n: 2 } })
  const next = await put(3, { ifWaiting: 'replace' })
  expect(next.status).toBe('inserted')
  expect(next.id).not.toBe(first.id)
  expect(await put(4, { ifWaiting: 'replace' })).toEqual({ status: 'replaced', id: next.id })
})

test('many in one call, some with keys: in the order given', async () => {
  const results = await task.enqueueMany(pool, [
    { args: { n: 1 }, unique: { key: 'z' } },
    { args: { n: 2 } },
    { args: { n: 3 }, unique: { key: 'a' } },
    { args: { n: 4 }, unique: { key: 'z' } },
    { args: { n: 5 }, unique: { key: 'z', ifWaiting: 'replace' } },
  ])
  expect(results.map(({ status }) => status)).toEqual(['inserted', 'inserted', 'inserted', 'duplicate', 'replaced'])
  expect(results[3]!.id).toBe(results[0]!.id)
  expect((await jobs()).map(({ args }) => args.n)).toEqual([5, 2, 3])
})

test('args come back letter by letter', async () => {
  const args = { text: '\u2028 "quotes" \\ {}', numbers: [1e21, -0, 0.1], n: 1 }
  await enqueue(pool, 'work', args, { unique: { key: '{"odd": \\ key}' } })
  const [{ text, key }] = await rows(`select args::text as text, meta ->> 'key' as key from pgq.jobs`)
  expect(text).toBe('{"text":"\u2028 \\"quotes\\" \\\\ {}","numbers":[1e+21,-0,0.1],"n":1}')
  expect(key).toBe('{"odd": \\ key}')
})

// Mutant: on conflict do nothing; those who come at the same time find the row, and not its job.
test('many at once: one of them enqueues, the others hear which', async () => {
  const clients = await Promise.all(Array.from({ length: 8 }, connect))
  for (let round = 0; round < 20; round++) {
    const unique = { key: `round ${round}` }
    const results = await Promise.all(clients.map((client, n) => task.enqueue(client, { n }, { unique })))
    expect(results.filter(({ status }) => status === 'inserted')).toHaveLength(1)
    expect(new Set(results.map(({ id }) => id)).size).toBe(1)
  }
})

// Mutant: keys locked in the order given; two calls that share keys wait for each other, and one of them fails with 40P01.
test('calls that share keys in different orders do not lock each other out', async () => {
  const clients = await Promise.all(Array.from({ length: 4 }, connect))
  for (let round = 0; round < 10; round++) {
    const keys = Array.from({ length: 50 }, (_, n) => `${round} ${n}`)
    const list = (order: string[]) => order.map((key) => ({ args: { n: 1 }, unique: { key } }))
    const results = await Promise.all(
      clients.map((client, n) => task.enqueueMany(client, list(n % 2 ? keys : keys.toReversed()))),
    )
    expect(results.flat().filter(({ status }) => status === 'inserted')).toHaveLength(50)
  }
})

test('in a transaction: others wait for how it ends, and an undone one has taken no key', async () => {
  const other = await connect()
  let waiting: Promise<unknown> = Promise.resolve()
  await inTransaction(pool, 'rollback', async (client) => {
    expect((await task.enqueue(client, { n: 1 }, { unique: { key: 'a' } })).status).toBe('inserted')
    waiting = task.enqueue(other, { n: 2 }, { unique: { key: 'a' } })
    while ((await rows(`select from pg_stat_activity where wait_event_type = 'Lock'`)).length === 0);
  })
  expect(await waiting).toMatchObject({ status: 'inserted' })
  expect((await jobs()).map(({ args }) => args.n)).toEqual([2])
})

test('a key that is locked holds up no jobs without one on the same pool', async () => {
  let waiting: Promise<unknown> = Promise.resolve()
  await inTransaction(pool, 'commit', async (client) => {
    await task.enqueue(client, { n: 1 }, { unique: { key: 'a' } })
    waiting = put(2)
    while ((await rows(`select from pg_stat_activity where wait_event_type = 'Lock'`)).length === 0);
    expect(await task.enqueue(pool, { n: 3 })).toMatchObject({ status: 'inserted' })
  })
  expect(await waiting).toMatchObject({ status: 'duplicate' })
})

test('with adapters of texts alone, and calls in flight together', async () => {
  const sent: string[] = []
  const executor = {
    query: (sql: string, params: unknown[]) => {
      sent.push(sql)
      return pool.query(sql, params as never)
    },
  }
  const results = await Promise.all([
    task.enqueue(executor, { n: 1 }, { unique: { key: 'a' } }),
    task.enqueue(executor, { n: 2 }, { unique: { key: 'a' } }),
    task.enqueue(executor, { n: 3 }),
    task.enqueue(executor, { n: 4 }),
    task.enqueue(executor, { n: 5 }, { unique: { key: 'b' } }),
  ])
  expect(results.map(({ status }) => status)).toEqual(['inserted', 'duplicate', 'inserted', 'inserted', 'inserted'])
  expect((await jobs()).map(({ args }) => args.n)).toEqual([1, 3, 4, 5])
  expect(sent).toHaveLength(3)
})

test.each([
  [{}, 'The key undefined is not allowed'],
  [{ key: '' }, 'The key "" is not allowed: use a text of 1 to 200 characters.'],
  [{ key: 'x'.repeat(201) }, 'is not allowed'],
  [{ key: 'a', until: 'done' }, `unique.until is "done"; use 'finished' or 'started'.`],
  [{ key: 'a', ifWaiting: 'drop' }, `unique.ifWaiting is "drop"; use 'keep' or 'replace'.`],
  [{ key: 'a', forMs: -1 }, 'unique.forMs is -1; use milliseconds from 0 to'],
  [{ key: 'a', forMs: '5' }, 'unique.forMs is "5"; use milliseconds'],
  [{ key: 'a', ttl: 5 }, 'unique: unknown option ttl'],
  ['a', 'unique: the options are "a"; give an object with key'],
])('refused: %j', async (unique, message) => {
  await expect(task.enqueue(pool, { n: 1 }, { unique: unique as never })).rejects.toThrow(message)
  expect(await jobs()).toEqual([])
})

test('what the database refuses fails its own call alone', async () => {
  await pool.query(`alter table pgq.jobs add constraint small check ((args ->> 'n')::integer < 100)`)
  try {
    const results = await Promise.allSettled([put(1, { key: 'x' }), put(100, { key: 'y' }), put(2, { key: 'z' })])
    expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    await expect(
      enqueueMany(pool, 'work', [{ args: { n: 1 } }, { args: { n: 100 }, unique: { key: 'v' } }]),
    ).rejects.toThrow('small')
  } finally {
    await pool.query('alter table pgq.jobs drop constraint small')
  }
  expect(await put(3, { key: 'y' })).toMatchObject({ status: 'inserted' })
})

test('from SQL', async () => {
  const call = async (rest: string) => (await rows(`select * from pgq.enqueue_unique('work', 'a', ${rest})`))[0]
  const first = await call(`'{"n": 1}', priority => 2, meta => '{"who": "psql"}'`)
  expect(first).toEqual({ id: expect.any(String), status: 'inserted' })
  expect(await call(`'{"n": 2}'`)).toEqual({ id: first.id, status: 'duplicate' })
  expect(await call(`'{"n": 3}', if_waiting => 'replace', delay_ms => 1000`)).toEqual({
    id: first.id,
    status: 'replaced',
  })
  expect(await put(4)).toEqual({ status: 'duplicate', id: first.id })
  expect(await jobs()).toEqual([{ id: first.id, args: { n: 3 }, priority: 0, meta: { key: 'a' }, ready: false }])
  for (const [rest, message] of [
    [`until => 'x'`, 'until is x; use finished or started.'],
    [`if_waiting => 'x'`, 'if_waiting is x; use keep or replace.'],
    [`for_ms => -1`, 'for_ms is -1; use milliseconds from 0 to'],
    [`priority => 99999`, 'priority is 99999'],
    [`delay_ms => 1, execute_at => now()`, 'give execute_at or delay_ms, not both.'],
    [`retry => '{"maxAttempts": 0}'`, 'retry.maxAttempts is 0'],
  ] as const) {
    await expect(call(rest)).rejects.toThrow(message)
  }
  for (const [key, shown] of [
    [`''`, '""'],
    ['null', 'null'],
    [`repeat('x', 201)`, 'xxx"'],
    [`repeat('😀', 101)`, '😀"'],
  ]) {
    const wrong = `${shown}; use a text of 1 to 200 characters.`
    await expect(rows(`select pgq.enqueue_unique('work', ${key})`), key).rejects.toThrow(wrong)
  }
  await rows(`select pgq.enqueue_unique('work', repeat('😀', 100)), pgq.enqueue_unique('work', repeat('ü', 200))`)
})

test('steering by key', async () => {
  const first = await put(1)
  await put(2, { key: 'b' })
  await expect(deleteWaitingJobs(pool, { key: 'a' })).rejects.toThrow('A key is one of a task: give task beside key.')
  expect(await deleteWaitingJobs(pool, { task: 'other', key: 'a' })).toBe(0)
  expect(await deleteWaitingJobs(pool, { task: 'work', key: 'a' })).toBe(1)
  expect((await jobs()).map(({ id }) => id)).not.toContain(first.id)
  expect(await cancelJobs(pool, { task: 'work', key: 'b' })).toBe(1)
})

test('dead letters by key: all that had it, also when it is forgotten or another one has it', async () => {
  for (const n of [1, 2]) {
    await put(n)
    await cancelJobs(pool, { task: 'work', key: 'a' })
  }
  const { id } = await put(3, { key: 'b' })
  await cancelJobs(pool, { ids: [id] })
  await forgetKeys(pool, 'pgq', { task: '', key: '' })
  await put(4)
  expect(await countMatching(pool, 'dead', { task: 'work', key: 'a' })).toBe(2)
  expect(await deleteDeadJobs(pool, { task: 'work', key: 'a' })).toBe(2)
  expect(await countMatching(pool, 'dead', { task: 'work' })).toBe(1)
})

// Mutants: a key whose job waits, or runs, is forgotten: another one is enqueued beside it.
test('rows of free keys are removed, and no others', async () => {
  await task.enqueueMany(
    pool,
    Array.from({ length: 30 }, (_, n) => ({ args: { n }, unique: { key: `done ${n}` } })),
  )
  await put(1, { key: 'for a time', forMs: 60_000 })
  await pool.query('delete from pgq.jobs')
  await put(1, { key: 'runs' })
  await claim()
  await put(1, { key: 'waits' })
  const look = (place = { task: '', key: '' }) => forgetKeys(pool, 'pgq', place)
  expect(await look({ task: 'work', key: 'runs' })).toEqual([{ task: 'work', key: 'waits', seen: 1, forgotten: 0 }])
  expect(await look()).toEqual([{ task: 'work', key: 'waits', seen: 33, forgotten: 30 }])
  expect((await rows('select key from pgq.job_keys order by key')).map(({ key }) => key)).toEqual([
    'for a time',
    'runs',
    'waits',
  ])
  expect(await look({ task: 'work', key: 'waits' })).toEqual([])
})

// Mutant: locked and deleted by its name alone; the row is as it is by now, and its job was looked for as of before.
test('a key that is taken while the look goes on is not forgotten', async () => {
  const first = await put(1)
  await deleteWaitingJobs(pool, { ids: [first.id] })
  await pool.query(`
    create function pgq.wait() returns trigger language plpgsql as 'begin perform pg_advisory_xact_lock(7); return null; end';
    create trigger wait before delete on pgq.job_keys execute function pgq.wait()`)
  const gate = await connect()
  try {
    await gate.query('select pg_advisory_lock(7)')
    const look = forgetKeys(pool, 'pgq', { task: '', key: '' })
    while ((await rows(`select from pg_locks where locktype = 'advisory' and objid = 7 and not granted`)).length === 0);
    const second = await put(2)
    await gate.query('select pg_advisory_unlock(7)')
    expect(await look).toMatchObject([{ seen: 1, forgotten: 0 }])
    expect(await put(3)).toEqual({ status: 'duplicate', id: second.id })
  } finally {
    await pool.query('drop function pgq.wait cascade')
  }
})
