import { migrate } from '@pgq/migrations'
import { Kysely, PostgresDialect } from 'kysely'
import pg from 'pg'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  aroundEnqueue,
  defineTask,
  divertEnqueues,
  type Executor,
  enqueue,
  enqueueMany,
  InvalidOptionError,
  NotMigratedError,
  type PgqDatabase,
  typed,
} from '../src/index.js'
import { counting, inTransaction, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const { pool } = database
const kysely = new Kysely<PgqDatabase>({
  dialect: new PostgresDialect({ pool: new pg.Pool({ connectionString: database.url, max: 3 }) }),
})
afterAll(() => kysely.destroy())
await migrate(database.url, { schema: 'second' })
beforeEach(() => database.truncate('second'))

const work = defineTask('work', { args: typed<any>() })
const stored = async (schema = 'pgq') =>
  (await database.rows(`select args::text from ${schema}.jobs order by position`)).map(({ args }) => JSON.parse(args))
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, number) => number + from)
const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => undefined,
    (error) => error,
  )

describe('is a part of the transaction that it is given', () => {
  const transactions: Record<string, (work: (trx: Executor) => Promise<unknown>) => Promise<unknown>> = {
    Kysely: (work) => kysely.transaction().execute(work),
    'pg PoolClient': async (work) => {
      const client = await pool.connect()
      try {
        await client.query('begin')
        await work(client)
        await client.query('commit')
      } catch (error) {
        await client.query('rollback')
        throw error
      } finally {
        client.release()
      }
    },
    'pg Client': async (work) => {
      const client = await database.connect()
      await client.query('begin')
      await work(client).then(
        () => client.query('commit'),
        async (error) => {
          await client.query('rollback')
          throw error
        },
      )
    },
  }

  test.each(Object.keys(transactions))('%s', async (name) => {
    const transaction = transactions[name]!
    await transaction(async (trx) => {
      await work.enqueue(trx, 'committed')
      expect(await stored()).toEqual([])
    })
    await failure(
      transaction(async (trx) => {
        await work.enqueueMany(trx, [{ args: 'rolled' }, { args: 'back' }])
        throw new Error('no')
      }),
    )
    expect(await stored()).toEqual(['committed'])
  })

  test('without one, a job is durable when the promise resolves: Pool and Kysely', async () => {
    const results = [await work.enqueue(pool, 1), await work.enqueue(kysely, 2)]
    expect(await stored()).toEqual([1, 2])
    expect(results).toEqual(
      await database.rows(`select 'inserted' as status, id::text from pgq.jobs order by position`),
    )
  })
})

describe('coalescing', () => {
  test('200 calls in flight are at most two statements, and each gets its own id', async () => {
    const executor = counting(pool)
    const results = await Promise.all(numbers(200).map((number) => work.enqueue(executor, number)))
    expect(executor.statements).toBeLessThanOrEqual(2)
    const rows = await database.rows('select id::text, args::text from pgq.jobs order by position')
    expect(rows).toEqual(results.map(({ id }, number) => ({ id, args: String(number) })))
  })

  test('calls made while a statement is under way travel with the next', async () => {
    const executor = counting(pool)
    const first = work.enqueue(executor, 'first')
    while (executor.statements === 0) await null
    const rest = numbers(50).map((number) => work.enqueue(executor, number))
    await Promise.all([first, ...rest])
    expect(executor.statements).toBe(2)
    expect(await stored()).toEqual(['first', ...numbers(50)])
  })

  // Mutant: one statement for all that waits. Over 250 MB it fails, and every small call with it.
  test('calls share a statement of 10 MB at most; none is divided, and their order stays', async () => {
    const large = defineTask('work', { args: typed<string>(), maxArgsBytes: 20_000_000 })
    const sizes: number[] = []
    const executor: Executor = {
      query(sql, params) {
        sizes.push(...params.map((param) => String(param).length).filter((length) => length > 1_000))
        return pool.query(sql, params)
      },
    }
    const texts = numbers(7).map((number) => String(number).repeat(3_000_000))
    const results = await Promise.all([
      ...texts.map((text) => large.enqueue(executor, text)),
      large.enqueueMany(
        executor,
        texts.slice(0, 4).map((args) => ({ args })),
      ),
      large.enqueue(executor, 'last'),
    ])
    expect(sizes.map((size) => Math.round(size / 1_000_000))).toEqual([9, 9, 3, 12])
    const rows = await database.rows('select id::text, left(args::text, 2) as start from pgq.jobs order by position')
    expect(rows.map(({ id }) => id)).toEqual(results.flat().map(({ id }) => id))
    expect(rows.map(({ start }) => start[1]).join('')).toBe('01234560123l')
  })

  test('one call that is too long for a statement says so, and disturbs no other', async () => {
    const executor = counting(pool)
    const stop = aroundEnqueue((jobs, next) => next(jobs[0]!.args === '1' ? jobs : Array(300).fill(jobs[0])))
    try {
      const large = defineTask('work', { args: typed<any>(), maxArgsBytes: 1_000_000 })
      const settled = await Promise.allSettled([
        work.enqueue(executor, 1),
        large.enqueue(executor, 'x'.repeat(900_000)),
        work.enqueue(executor, 1),
      ])
      expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
      expect(settled[1]).toMatchObject({
        reason: {
          code: 'PGQ_INVALID_OPTION',
          message: expect.stringContaining('one call takes 250000000. Enqueue them'),
        },
      })
    } finally {
      stop()
    }
    expect(executor.statements).toBe(1)
    expect(await stored()).toEqual([1, 1])
  })

  /** A trigger of the user on the jobs, for as long as the work takes. */
  async function withTrigger(body: string, work: () => Promise<unknown>): Promise<void> {
    await pool.query(`
      create function own_trigger() returns trigger language plpgsql as $$ begin ${body} return new; end $$;
      create trigger own_trigger before insert on pgq.jobs for each row execute function own_trigger()`)
    try {
      await work()
    } finally {
      await pool.query('drop trigger own_trigger on pgq.jobs; drop function own_trigger')
    }
  }

  /** Three calls in flight together, the second of them with 13: it is refused for this reason, alone and whole. */
  async function expectThirteenRefused(reason: object): Promise<void> {
    const settled = await Promise.allSettled([
      work.enqueueMany(pool, numbers(3).map((args) => ({ args }))), // biome-ignore format: short
      work.enqueueMany(pool, numbers(3, 12).map((args) => ({ args }))), // biome-ignore format: short
      work.enqueue(pool, 20),
    ])
    expect(settled.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(settled[1]).toMatchObject({ reason })
    expect(await stored()).toEqual([0, 1, 2, 20])
  }

  test('one call that a trigger of the user refuses fails alone, whole', async () => {
    await withTrigger(`if new.args::text = '13' then raise 'unlucky'; end if;`, async () => {
      await expectThirteenRefused({ code: 'P0001', message: 'unlucky' })

      // In a transaction the refusal has ended it for all: each call hears why.
      await inTransaction(pool, 'rollback', async (trx) => {
        const both = await Promise.allSettled([work.enqueue(trx, 1), work.enqueue(trx, 13)])
        expect(both).toMatchObject([{ reason: { message: 'unlucky' } }, { reason: { message: 'unlucky' } }])
      })
    })
  })

  // Mutants: the ids that came back answered for the jobs in order, whatever their number; a job that is not there answered as enqueued.
  test('a call of which a trigger of the user leaves out a job fails alone, whole', async () => {
    await withTrigger(`if new.args::text = '13' then return null; end if;`, async () => {
      const reason = { code: '09000', message: expect.stringContaining('A trigger on pgq.jobs left out') }
      await expectThirteenRefused(reason)
      await expect(work.enqueue(pool, 13)).rejects.toMatchObject(reason)
      await expect(work.enqueue(pool, 13, { unique: { key: 'a' } })).rejects.toMatchObject(reason)
      await expect(work.enqueueMany(pool, [{ args: 13 }, { args: 13 }])).rejects.toMatchObject(reason)
      await expect(pool.query(`select pgq.enqueue_many('[{"task": "a", "args": 13}]')`)).rejects.toMatchObject(reason)
      expect(await stored()).toEqual([0, 1, 2, 20])
    })
  })

  test('a call with invalid args or options disturbs no other', async () => {
    const calls = [work.enqueue(pool, 1), work.enqueue(pool, 2n), work.enqueue(pool, 3, { priority: 0.5 })]
    expect((await Promise.allSettled(calls)).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'rejected'])
    expect(await stored()).toEqual([1])
  })

  test('after a database error the executor goes on working', async () => {
    let broken = true
    const executor: Executor = {
      query: (sql, params) => (broken ? Promise.reject(new Error('down')) : pool.query(sql, params)),
    }
    expect(await failure(work.enqueue(executor, 1))).toMatchObject({ message: 'down' })
    broken = false
    await work.enqueue(executor, 2)
    expect(await stored()).toEqual([2])
  })
})

describe('order', () => {
  test('is kept inside a transaction: single, bulk and coalesced calls', async () => {
    await inTransaction(pool, 'commit', async (trx) => {
      await work.enqueue(trx, 0)
      await work.enqueueMany(trx, numbers(500, 1).map((args) => ({ args }))) // biome-ignore format: short
      await Promise.all([
        ...numbers(50, 501).map((args) => work.enqueue(trx, args)),
        work.enqueueMany(trx, [{ args: 551 }, { args: 552 }]),
      ])
      await work.enqueue(trx, 553)
    })
    expect(await stored()).toEqual(numbers(554))
  })

  test('results come in the order given', async () => {
    const results = await work.enqueueMany(pool, numbers(1_000).map((args) => ({ args }))) // biome-ignore format: short
    const rows = await database.rows('select id::text, args::text from pgq.jobs')
    const argsById = new Map(rows.map(({ id, args }) => [id, Number(args)]))
    expect(results.map(({ id }) => argsById.get(id))).toEqual(numbers(1_000))
  })

  test('any iterable will do, an empty one writes nothing', async () => {
    const executor = counting(pool)
    expect(await work.enqueueMany(executor, [])).toEqual([])
    expect(executor.statements).toBe(0)
    expect(await work.enqueueMany(executor, new Set([{ args: 1 }, { args: 2 }]))).toHaveLength(2)
  })
})

describe('options', () => {
  const task = defineTask('work', { args: typed<any>(), queue: 'mail', priority: 3 })
  const row = async () => (await database.rows('select *, execute_at - created_at as delay from pgq.jobs'))[0]

  test('default to those of the task', async () => {
    await task.enqueue(pool, {})
    expect(await row()).toMatchObject({
      queue: 'mail',
      priority: 3,
      execute_at: null,
      retry: null,
      attempt: 0,
      errors: null,
    })
  })

  test('of a call win', async () => {
    await task.enqueue(pool, {}, { queue: 'other', priority: -32_768, retry: { maxAttempts: 2, jitter: 0 } })
    expect(await row()).toMatchObject({ queue: 'other', priority: -32_768, retry: { maxAttempts: 2, jitter: 0 } })
  })

  test('executeAt is kept to the millisecond; in the past it means at once', async () => {
    const executeAt = new Date(Date.now() + 3_600_123)
    await task.enqueueMany(pool, [
      { args: 1, executeAt },
      { args: 2, executeAt: new Date(0) },
    ])
    expect(await database.rows('select execute_at from pgq.jobs order by position')).toEqual([
      { execute_at: executeAt },
      { execute_at: null },
    ])
  })

  // Mutant: toISOString() as it is. PostgreSQL knows neither +275760 nor -271821, and the error ends the transaction.
  test('executeAt may be any Date that there is', async () => {
    const dates = [new Date(8.64e15), new Date('+010000-01-01'), new Date('0000-01-01'), new Date(-8.64e15)]
    await inTransaction(pool, 'commit', async (trx) => {
      for (const executeAt of dates) await task.enqueue(trx, {}, { executeAt })
      await task.enqueueMany(
        trx,
        dates.map((executeAt) => ({ args: {}, executeAt })),
      )
    })
    const rows = await database.rows(
      'select (extract(epoch from execute_at) * 1000)::double precision as at from pgq.jobs order by position',
    )
    const stored = [8.64e15, Date.parse('+010000-01-01'), null, null]
    expect(rows.map(({ at }) => at)).toEqual([...stored, ...stored])
  })

  test('delayMs counts from now, by the clock of the database', async () => {
    await task.enqueue(pool, {}, { delayMs: 90_000.5 })
    expect((await row()).delay).toMatchObject({ minutes: 1, seconds: 30 })
    await database.truncate()
    await task.enqueue(pool, {}, { delayMs: 0 })
    expect(await row()).toMatchObject({ execute_at: null })
    await task.enqueue(pool, {}, { delayMs: 315_576_000_000 })
  })

  const invalid: [options: object, message: string][] = [
    [{ queue: '' }, 'The queue name "" is not allowed'],
    [{ queue: 'a\0' }, 'The queue name'],
    [{ queue: 'x'.repeat(201) }, 'use a text of 1 to 200 characters'],
    [{ queue: 5 }, 'The queue name 5'],
    [{ queue: null }, 'The queue name null'],
    [{ priority: 1.5 }, 'enqueue of task "work": priority is 1.5; use a whole number from -32768 to 32767.'],
    [{ priority: 32_768 }, 'priority is 32768'],
    [{ priority: -32_769 }, 'priority is -32769'],
    [{ priority: '1' }, 'priority is "1"'],
    [{ executeAt: new Date(Number.NaN) }, 'executeAt must be a valid Date'],
    [{ executeAt: '2030-01-01' }, 'executeAt must be a valid Date'],
    [{ executeAt: new Date(), delayMs: 1 }, 'give executeAt or delayMs, not both'],
    [{ delayMs: -1 }, 'delayMs is -1; use milliseconds from 0'],
    [{ delayMs: Number.NaN }, 'delayMs is NaN'],
    [{ delayMs: Number.POSITIVE_INFINITY }, 'delayMs is Infinity'],
    [{ delayMs: '5' }, 'delayMs is "5"'],
    [{ retry: { maxAttempts: 0 } }, 'retry.maxAttempts is 0; use a whole number from 1 to 32767.'],
    [{ retry: { maxAttempts: 2.5 } }, 'retry.maxAttempts is 2.5'],
    [{ retry: { jitter: 2 } }, 'retry.jitter is 2; use a number from 0 to 1.'],
    [{ retry: { factor: 0 } }, 'retry.factor'],
    [{ retry: { minDelayMs: -1 } }, 'retry.minDelayMs'],
    [{ retry: { maxDelayMs: Number.NaN } }, 'retry.maxDelayMs'],
    [{ retry: null }, 'retry is null; use an object'],
    [{ retry: { backoff: () => 1 } }, 'retry.backoff is code, which a job cannot carry'],
    [{ runAt: new Date() }, 'enqueue of task "work": unknown option runAt; did you mean executeAt? The options are'],
    [{ delay: undefined }, 'unknown option delay; did you mean delayMs?'],
    [{ zzz: 1 }, 'unknown option zzz. The options are queue, priority, executeAt, delayMs, retry, unique'],
    // Mutant: passed over, or put in the place of the second argument.
    [{ args: { a: 1 } }, 'unknown option args'],
  ]
  test.each(invalid)('%o is refused', async (options, message) => {
    const executor = counting(pool)
    const errors = [
      await failure(task.enqueue(executor, {}, options)),
      await failure(enqueue(executor, 'work', {}, options)),
    ]
    for (const error of errors) {
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toContain(message)
    }
    expect(executor.statements).toBe(0)
  })

  test('one of a list is named by its place', async () => {
    const jobs = [{ args: 1 }, { args: { note: undefined } }]
    const errors = [await failure(task.enqueueMany(pool, jobs)), await failure(enqueueMany(pool, 'work', jobs))]
    for (const error of errors) expect(error.message).toContain('jobs[1]: args.note is undefined')
  })

  test.each([{ args: 1 }, 5, null, 'ab'])('%o is no list of jobs', async (jobs) => {
    const errors = [
      await failure(task.enqueueMany(pool, jobs as never)),
      await failure(enqueueMany(pool, 'work', jobs as never)),
    ]
    for (const error of errors) expect(error.message).toContain('give a list: [{ args: ... }, ...]')
  })

  // Mutants: the schema complains of args that are undefined; an option that is unknown, when it is no option that was meant.
  test('args in the place of a job are told so, and where they go', async () => {
    const jobs = [{ args: {} }, { to: 'ada', delayMs: 5 }] as never
    const checked = defineTask('checked', { args: z.object({ to: z.string().optional() }) })
    const errors = await Promise.all([task, checked].map((one) => failure(one.enqueueMany(pool, jobs))))
    errors.push(await failure(enqueueMany(pool, 'work', jobs)))
    for (const error of errors) {
      expect(error).toBeInstanceOf(InvalidOptionError)
      expect(error.message).toBe(
        'jobs[1]: the job has no args, and "to" is no option: args go under args, as in { args: { "to": ... } }. The options beside them are queue, priority, executeAt, delayMs, retry, unique, concurrency.',
      )
    }
  })

  // Mutants: what is false passed over: a job without its args; args in the place of a job, where they have no names that could be wrong.
  test.each([0, '', false, null, undefined, []])('%o is no job of a list', async (job) => {
    const errors = [
      await failure(task.enqueueMany(pool, [job as never])),
      await failure(enqueueMany(pool, 'work', [job as never])),
    ]
    for (const error of errors)
      expect(error.message).toMatch(/^jobs\[0\]: a job is .*; give an object: { args: ... }\.$/)
  })

  // Mutant: passed over: the job runs at once, in the schema of the default.
  test.each([0, 5, '', 'second', { shema: 'second' }])('%o are no options', async (options) => {
    const errors = [
      await failure(enqueue(pool, 'work', {}, options as never)),
      await failure(enqueueMany(pool, 'work', [{}], options as never)),
    ]
    for (const error of errors) expect(error).toMatchObject({ code: 'PGQ_INVALID_OPTION' })
    expect(await stored()).toEqual([])
  })

  test('aroundEnqueue takes a function', () => {
    expect(() => aroundEnqueue(5 as never)).toThrow('(jobs, next) => next(jobs)')
  })

  test('an at-most-once job takes no retry', async () => {
    const once = defineTask('work', { mode: 'at-most-once', args: typed<any>() })
    expect(await failure(once.enqueue(pool, {}, { retry: {} as never }))).toMatchObject({ code: 'PGQ_INVALID_OPTION' })
  })
})

describe('the first argument', () => {
  const wrong = [undefined, null, 'postgres://', 5, {}, { query: 'text' }, { query: {} }, work]
  test.each(wrong)('%o is refused', async (executor) => {
    const error = await failure(work.enqueue(executor as never, {}))
    expect(error).toBeInstanceOf(InvalidOptionError)
    expect(error.message).toContain('The first argument must be what runs the SQL')
  })

  test.each([
    ['Drizzle', 'fromDrizzle(db)', { execute() {} }],
    ['Knex', 'fromKnex(knex)', Object.assign(() => {}, { raw() {} })],
    ['postgres.js', 'fromPostgresJs(sql)', Object.assign(() => {}, { unsafe() {} })],
    ['Prisma', 'fromPrisma(prisma)', { $queryRawUnsafe() {} }],
  ])('of %s: its adapter is named', async (client, adapter, executor) => {
    const error = await failure(work.enqueue(executor as never, {}))
    expect(error.message).toBe(`The first argument is of ${client}: pass ${adapter}, from @pgq/core/adapters.`)
  })

  // Mutant: args are checked first, and who left the executor out hears that undefined is no JSON.
  test('left out, it is named, and not the args that stand in its place', async () => {
    const error = await failure((work as any).enqueue({ orderId: 1 }))
    expect(error.message).toContain('The first argument must be what runs the SQL')
  })
})

describe('by name', () => {
  test('needs no definition; args default to {}, and null stays null', async () => {
    await enqueue(pool, 'work')
    await enqueue(pool, 'work', null)
    await enqueueMany(pool, 'work', [{}, { args: [1], priority: 2 }, { args: null }])
    expect(await stored()).toEqual([{}, null, {}, [1], null])
    expect(await failure(enqueue(pool, ''))).toBeInstanceOf(InvalidOptionError)
  })
})

describe('schemas', () => {
  test('two in one database are two queues', async () => {
    const second = defineTask('work', { args: typed<any>(), schema: 'second' })
    await Promise.all([
      work.enqueue(pool, 'first'),
      second.enqueue(pool, 'second'),
      enqueue(pool, 'x', 'third', { schema: 'second' }),
    ])
    expect(await stored()).toEqual(['first'])
    expect((await stored('second')).sort()).toEqual(['second', 'third'])
  })

  test('one that is not there gives NotMigratedError, with the cause', async () => {
    const error = await failure(enqueue(pool, 'work', {}, { schema: 'nowhere' }))
    expect(error).toBeInstanceOf(NotMigratedError)
    expect(error).toMatchObject({
      code: 'PGQ_NOT_MIGRATED',
      cause: { code: '3F000' },
      message: expect.stringContaining('"nowhere"'),
    })
  })

  test('a name that is not safe is refused', async () => {
    for (const schema of ['', 'a-b', 'A', '1a', 'a"; drop table x', 'x'.repeat(49)]) {
      expect(await failure(enqueue(pool, 'work', {}, { schema }))).toBeInstanceOf(InvalidOptionError)
      expect(() => defineTask('work', { schema })).toThrow(InvalidOptionError)
    }
  })
})

test('divertEnqueues takes the jobs of one executor, or of all, and gives them back', async () => {
  const names: string[] = []
  const sink = {
    enqueue: async (_: Executor, jobs: readonly { task: string }[]) => {
      names.push(...jobs.map(({ task }) => task))
      return jobs.map(() => ({ status: 'inserted' as const, id: '1' }))
    },
    schedule: () => Promise.reject(new Error('nothing is scheduled here')),
  }
  const mine = counting(pool)
  const stopMine = divertEnqueues(sink, mine)
  await enqueue(mine, 'mine')
  await enqueue(pool, 'stored')
  const stopAll = divertEnqueues(sink)
  await enqueue(pool, 'all')
  stopAll()
  stopMine()
  await enqueue(mine, 'stored, too')
  expect(names).toEqual(['mine', 'all'])
  expect(await database.rows('select task from pgq.jobs order by position')).toEqual([
    { task: 'stored' },
    { task: 'stored, too' },
  ])
})

describe('the SQL functions give the same rows as enqueue', () => {
  const columns = `position - min(position) over () as place, ready_at = created_at as ready, execute_at - created_at as delay,
    priority, attempt, crash_count, queue, task, args::text, retry::text, errors`
  const cases: [name: string, options: object, sql: string][] = [
    ['defaults', {}, `select pgq.enqueue('work')`],
    ['priority', { priority: 7 }, `select pgq.enqueue('work', priority => 7)`],
    ['queue', { queue: 'other' }, `select pgq.enqueue('work', queue => 'other')`],
    ['delayMs', { delayMs: 60_000 }, `select pgq.enqueue('work', delay_ms => 60000)`],
    ['delayMs 0', { delayMs: 0 }, `select pgq.enqueue('work', delay_ms => 0)`],
    ['executeAt in the past', { executeAt: new Date(0) }, `select pgq.enqueue('work', execute_at => 'epoch')`],
    ['retry', { retry: { maxAttempts: 3 } }, `select pgq.enqueue('work', retry => '{"maxAttempts":3}')`],
    ['args', { args: { a: [1, 'ü'] } }, `select pgq.enqueue('work', '{"a":[1,"ü"]}')`],
  ]
  test.each(cases)('%s', async (_, { args = {}, ...options }: { args?: unknown }, sql) => {
    await enqueue(pool, 'work', args, options)
    const ours = await database.rows(`select ${columns} from pgq.jobs`)
    await database.truncate()
    await pool.query(sql)
    expect(await database.rows(`select ${columns} from pgq.jobs`)).toEqual(ours)
    expect(ours).toHaveLength(1)
  })

  test('enqueue_many', async () => {
    const jobs = [
      { args: 1 },
      { args: { a: 2 }, priority: 5, queue: 'q' },
      { delayMs: 1_000 },
      { executeAt: new Date('2100-01-01') },
    ]
    await enqueueMany(pool, 'work', jobs)
    const ours = await database.rows(`select ${columns}, execute_at > '2099-01-01' as far from pgq.jobs order by place`)
    await database.truncate()
    const theirs = [
      { task: 'work', args: 1 },
      { task: 'work', args: { a: 2 }, priority: 5, queue: 'q' },
      { task: 'work', delay_ms: 1_000 },
      { task: 'work', execute_at: '2100-01-01T00:00:00Z' },
    ]
    await pool.query('select pgq.enqueue_many($1)', [JSON.stringify(theirs)])
    const rows = await database.rows(`select ${columns}, execute_at > '2099-01-01' as far from pgq.jobs order by place`)
    // created_at differs, so the fixed instant is another distance away.
    const comparable = (list: any[]) => list.map((row) => (row.far ? { ...row, delay: null } : row))
    expect(comparable(rows)).toEqual(comparable(ours))
    expect(rows).toHaveLength(4)
  })
})
