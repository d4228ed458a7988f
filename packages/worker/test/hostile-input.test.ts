import { defineTask, type Handler, typed } from '@pgq/core'
import { migrate } from '@pgq/migrations'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { all, MODES, next, queue, until } from './queue.js'

const db = await queue()

/** What jsonb would change or refuse, what breaks quoting, and what breaks LISTEN. NUL and half characters are refused at enqueue. */
const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 30 }).map((any) => any.replaceAll('\0', '').toWellFormed()),
  fc.constantFrom(
    '',
    ' ',
    '"',
    "'",
    '\\',
    '\\x00',
    '$1',
    '{a,"b"}',
    'NULL',
    '\u2028',
    '\ufeff',
    '__proto__',
    '%s',
    '\ud83d\ude00',
  ),
)
const { json } = fc.letrec<{ json: unknown }>((tie) => ({
  json: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    text,
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(null, true, false, 0, -0, 2 ** 53, Number.MIN_VALUE, Number.MAX_VALUE),
    fc.array(tie('json'), { maxLength: 4 }),
    fc.array(fc.tuple(text, tie('json')), { maxLength: 4 }).map(Object.fromEntries),
  ),
}))

describe.each(MODES)('%s', (mode) => {
  // Mutants: jsonb columns (keys sorted, -0 lost, duplicates merged); args concatenated into SQL.
  test('any JSON args come out of the worker as they went in, in their order', async () => {
    const task = defineTask('echo', { mode, args: typed<any>() })
    let seen: unknown[] = []
    await db.worker([task.handle((args) => seen.push(args))], { concurrency: 1 })
    await fc.assert(
      fc.asyncProperty(fc.array(json, { minLength: 1, maxLength: 30 }), async (batch) => {
        seen = []
        await task.enqueueMany(
          db.pool,
          batch.map((args) => ({ args })),
        )
        await until(() => seen.length === batch.length)
        expect(seen).toStrictEqual(batch)
        expect(seen.map((args) => JSON.stringify(args))).toEqual(batch.map((args) => JSON.stringify(args)))
      }),
      { numRuns: 15 },
    )
  })

  test('any error text is kept, or made storable, and never stops the worker', async () => {
    const task = defineTask('throwing', { mode, args: typed<string>() })
    const anyText = fc.string({ unit: 'binary', maxLength: 40 })
    const texts = fc.sample(anyText, 30).concat('\0', '\ud800', 'x'.repeat(100_000), "'; drop table pgq.jobs; --")
    const worker = await db.worker([
      task.handle((n) => {
        throw Object.assign(new Error(texts[Number(n)]), { name: texts[Number(n)] })
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueueMany(
      db.pool,
      texts.map((_, n) => ({
        args: String(n),
        ...(mode !== 'at-most-once' && ({ retry: { maxAttempts: 1 } } as object)),
      })),
    )
    await until(() => settled.length === texts.length)
    const kept = await db.rows<{ n: string; message: string }>(
      "select args #>> '{}' as n, errors -> 0 ->> 'message' as message from pgq.dead_jobs",
    )
    expect(kept.length).toBe(texts.length)
    for (const { n, message } of kept) {
      expect(message).toBe(texts[Number(n)]!.slice(0, 4_000).replaceAll('\0', '\ufffd').toWellFormed())
    }
  })
})

describe('at-most-once, where the job exists in the worker alone until it is written back', () => {
  const task = defineTask('work', { mode: 'at-most-once', args: typed<object>() })
  const handler = task.handle(() => {
    throw new Error('failed')
  })

  test('args from SQL that jsonb refuses: a failed job becomes a dead letter', async () => {
    const args = String.raw`{"text":"\u0000\ud800"}`
    const worker = await db.worker([handler])
    const settled = next(worker, 'job.settled')
    await db.pool.query(`select pgq.enqueue('work', $1)`, [args])
    expect(await settled).toMatchObject({ settlement: { kind: 'bury' } })
    expect(await db.rows('select args::text from pgq.dead_jobs')).toEqual([{ args }])
  })

  // Mutant: any error is taken for an outage: the worker tries for ever, and cannot drain.
  test('a write that is refused for its data is told, and not tried again', async () => {
    await db.pool.query('alter table pgq.dead_jobs add constraint refusing check (attempt > 1)')
    onTestFinished(() => void db.pool.query('alter table pgq.dead_jobs drop constraint refusing'))
    const worker = await db.worker([handler])
    const lost = all(worker, 'database.lost')
    const unsettled = next(worker, 'job.unsettled')
    await task.enqueue(db.pool, {})
    expect(await unsettled).toMatchObject({ mode: 'at-most-once', error: { constraint: 'refusing' } })
    await worker.stop()
    expect(lost).toEqual([])
  })

  // Mutant: all that were to be written with it are refused, too.
  test('one of many that is refused for its data takes no other along', async () => {
    await db.pool.query(`alter table pgq.dead_jobs add constraint refusing check (args::text <> '{"n":3}')`)
    onTestFinished(() => void db.pool.query('alter table pgq.dead_jobs drop constraint refusing'))
    const worker = await db.worker([handler])
    const unsettled = all(worker, 'job.unsettled')
    // The first one waits for it, and the others for the first one.
    const release = await db.hold('lock table pgq.dead_jobs in share mode')
    await task.enqueueMany(
      db.pool,
      Array.from({ length: 8 }, (_, n) => ({ args: { n } })),
    )
    await db.blocked()
    await release()
    await until(async () => (await db.value('select count(*)::integer from pgq.dead_jobs')) === 7)
    await until(() => unsettled.length === 1)
  })

  // Mutant: each of them has a transaction of its own, so that a stream of failures waits for the disk at every one.
  test('many that fail are written back together', async () => {
    const worker = await db.worker([handler])
    const settled = all(worker, 'job.settled')
    await task.enqueueMany(
      db.pool,
      Array.from({ length: 500 }, (_, n) => ({ args: { n } })),
    )
    await until(() => settled.length === 500)
    const [kept] = await db.rows<{ jobs: number; transactions: number }>(
      'select count(*)::integer as jobs, count(distinct xmin::text)::integer as transactions from pgq.dead_jobs',
    )
    expect(kept!.jobs).toBe(500)
    expect(kept!.transactions).toBeLessThan(250)
  })
})

const NAMES = [
  `"; drop schema pgq cascade; --`,
  `'; select pg_terminate_backend(pg_backend_pid()); --`,
  'quotes " \' ` \\ \\" $$ $1 %I',
  'new\nline\ttab\u0001',
  ' spaces around ',
  'NULL',
  '{a,"b",NULL}',
  'a.b:c/d|e,f',
  '*',
  'Grüße, 你好, עברית, 👩‍👩‍👧',
  'é', // one name in two spellings:
  'e\u0301',
  'Case',
  'case',
  'x'.repeat(200),
  '👩'.repeat(100),
]

describe('hostile names of queues and tasks', () => {
  // Mutants: a channel made of the queue's name (cut at 63 bytes, or SQL); names concatenated into the claim.
  test('sleeping workers are woken for each of them, and they stay apart', async () => {
    const seen: string[] = []
    const tasks = NAMES.map((name) => defineTask(name, { queue: name, args: typed<null>() }))
    const handlers = tasks.map(
      ({ name }): Handler => ({ task: tasks.find((task) => task.name === name)!, run: () => seen.push(name) }),
    )
    // One worker per queue, so that a job in the wrong queue would be seen; a lost ring would take a minute.
    const workers = await Promise.all(
      handlers.map((handler) => db.worker([handler], { queues: [handler.task.name], concurrency: 1, pollMs: 60_000 })),
    )
    await until(async () => (await db.value('select count(*)::integer from pgq.idle_workers')) === NAMES.length)
    for (const [n, task] of tasks.entries()) {
      const settled = next(workers[n]!, 'job.settled')
      const start = performance.now()
      await task.enqueue(db.pool, null)
      expect(await settled).toMatchObject({ task: NAMES[n], queue: NAMES[n], outcome: { type: 'success' } })
      expect(performance.now() - start).toBeLessThan(5_000)
    }
    expect(seen).toEqual(NAMES)
    expect(await db.rows('select * from pgq.job_states')).toEqual([])
  })

  test('one worker serves them all, and reports those it does not know as they are', async () => {
    const [own, ...others] = NAMES.map((name) => defineTask(name, { args: typed<null>() }))
    for (const task of others) await task.enqueue(db.pool, null)
    const worker = db.idleWorker([own!.handle(() => {})], { queues: [...NAMES, 'default'] })
    const reported = next(worker, 'tasks.unknown')
    await worker.start()
    expect((await reported).tasks.toSorted()).toEqual(NAMES.slice(1).toSorted())
  })

  test.each([
    ['NUL', 'a\0b'],
    ['half a character', 'a\udc00'],
    ['nothing', ''],
    ['201 characters', 'x'.repeat(201)],
  ])('%s is refused', (_, name) => {
    const handler = defineTask('work', { args: typed<null>() }).handle(() => {})
    expect(() => defineTask(name)).toThrow(/The task name .* is not allowed/)
    expect(() => db.idleWorker([handler], { queues: [name] })).toThrow(/The queue name .* is not allowed/)
  })
})

describe('schemas', () => {
  const longest = 's'.repeat(48)

  // Mutant: a channel longer than 63 bytes: LISTEN cuts it, NOTIFY refuses it, so that every enqueue would fail.
  test('the longest name with the highest worker ids: the doorbell works', async () => {
    await migrate(db.url, { schema: longest })
    await db.pool.query(`alter table ${longest}.workers alter column id restart with 2147483600`)
    const task = defineTask('work', { schema: longest, args: typed<number>() })
    const worker = await db.worker([task.handle(() => {})], { schema: longest, pollMs: 60_000 })
    expect(worker.id).toBeGreaterThanOrEqual(2_147_483_600)
    await until(async () => (await db.value(`select count(*) from ${longest}.idle_workers`)) === '1')
    const settled = next(worker, 'job.settled')
    const start = performance.now()
    await task.enqueue(db.pool, 1)
    await settled
    expect(performance.now() - start).toBeLessThan(5_000)
  })

  test.each(['a"b', "a'b", 'a b', 'A', '1a', 'ü', 'a-b', 'a.b', 'x;drop', '', 's'.repeat(49), 'a\n'])(
    '%j is refused',
    (schema) => {
      expect(() => defineTask('work', { schema })).toThrow(/schema .* is not allowed: use 1 to 48/)
      const handler = defineTask('work').handle(() => {})
      expect(() => db.idleWorker([handler], { schema })).toThrow(/schema .* is not allowed: use 1 to 48/)
    },
  )
})
