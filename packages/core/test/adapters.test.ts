import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOnPostgresJs } from 'drizzle-orm/postgres-js'
import createKnex from 'knex'
import pg from 'pg'
import postgres from 'postgres'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { fromDrizzle, fromKnex, fromPostgresJs, fromPrisma } from '../src/adapters.js'
import {
  defineTask,
  deleteWaitingJobs,
  type Executor,
  enqueue,
  finishInTransaction,
  LostLeaseError,
  NotMigratedError,
  redriveDeadJobs,
  retryScheduledJobs,
  typed,
} from '../src/index.js'
import { prismaClient } from './prisma-client.js'
import { leaseJobs, queueDatabase } from './queue-database.js'

/** One client library, as a user has it: work outside of and in a transaction, with a statement of the user's own. */
interface Client {
  readonly executor: Executor
  readonly again: Executor
  transaction(work: (trx: Executor, own: (note: string) => PromiseLike<unknown>) => Promise<void>): Promise<unknown>
  close(): PromiseLike<unknown>
}

const OWN = 'insert into notes values'

const libraries: Record<string, (url: string) => Client> = {
  'drizzle on pg'(url) {
    const pool = new pg.Pool({ connectionString: url })
    const db = drizzle(pool)
    return {
      executor: fromDrizzle(db),
      again: fromDrizzle(db),
      transaction: (work) =>
        db.transaction((trx) =>
          work(fromDrizzle(trx), (note) => trx.execute(drizzleSql`insert into notes values (${note})`)),
        ),
      close: () => pool.end(),
    }
  },
  'drizzle on postgres.js'(url) {
    const client = postgres(url, { onnotice: () => {} })
    const db = drizzleOnPostgresJs(client)
    return {
      executor: fromDrizzle(db),
      again: fromDrizzle(db),
      transaction: (work) =>
        db.transaction((trx) =>
          work(fromDrizzle(trx), (note) => trx.execute(drizzleSql`insert into notes values (${note})`)),
        ),
      close: () => client.end(),
    }
  },
  prisma(url) {
    const client = prismaClient(url)
    return {
      executor: fromPrisma(client),
      again: fromPrisma(client),
      transaction: (work) =>
        client.$transaction((trx) => work(fromPrisma(trx), (note) => trx.$queryRawUnsafe(`${OWN} ($1)`, note))),
      close: () => client.$disconnect(),
    }
  },
  knex(url) {
    const knex = createKnex({ client: 'pg', connection: url })
    return {
      executor: fromKnex(knex),
      again: fromKnex(knex),
      transaction: (work) => knex.transaction((trx) => work(fromKnex(trx), (note) => trx.raw(`${OWN} (?)`, [note]))),
      close: () => knex.destroy(),
    }
  },
  'postgres.js'(url) {
    const sql = postgres(url)
    return {
      executor: fromPostgresJs(sql),
      again: fromPostgresJs(sql),
      transaction: (work) =>
        sql.begin((trx) => work(fromPostgresJs(trx), (note) => trx`insert into notes values (${note})`)),
      close: () => sql.end(),
    }
  },
}

// What confuses placeholders, casts, quoting and JSON.
const HOSTILE = {
  placeholders: '? ?? \\? $1 $2 $$ :name ::text %s',
  quotes: `' '' " \\ \\\\ \` -- /* */ ;drop table pgq.jobs;`,
  text: 'äöü € 😀 \u2028 \u0001 \u007f',
  keys: { '?': 1, $1: 2, "'": 3, '': 4 },
  numbers: [-0, 1e21, 5e-324, 9007199254740992, 0.1],
  nested: [[], {}, [null, [true, 'null', '[]', '{}']]],
}

const work = defineTask('work', { args: typed<any>() })
const database = await queueDatabase()
beforeAll(() => database.pool.query('create table notes (note text)'))
const storedArgs = async () =>
  (await database.rows('select args::text from pgq.jobs order by position')).map(({ args }) => args)
const counted = async (table: string) => (await database.rows(`select count(*)::integer as n from ${table}`))[0].n

describe.each(Object.keys(libraries))('%s', (name) => {
  const client = libraries[name]!(database.url)
  afterAll(async () => void (await client.close()))

  test('a commit keeps the job and the own row, a rollback neither', async () => {
    await database.pool.query('truncate notes')
    await client.transaction(async (trx, own) => {
      await own('kept')
      await work.enqueue(trx, 'kept')
      expect(await counted('pgq.jobs')).toBe(0) // nobody else sees it yet
    })
    const failing = client.transaction(async (trx, own) => {
      await own('lost')
      await work.enqueue(trx, 'lost')
      throw new Error('roll back')
    })
    await expect(failing).rejects.toThrow('roll back')
    expect(await storedArgs()).toEqual(['"kept"'])
    expect(await database.rows('select note from notes')).toEqual([{ note: 'kept' }])
  })

  test('1,000 jobs in one call keep their order', async () => {
    const results = await work.enqueueMany(
      client.executor,
      Array.from({ length: 1_000 }, (_, args) => ({ args })),
    )
    const stored = await database.rows('select id::text, args::text from pgq.jobs order by position')
    expect(stored).toEqual(results.map(({ id }, number) => ({ id, args: String(number) })))
  })

  test('hostile args and options come through as they are', async () => {
    await work.enqueue(client.executor, HOSTILE, { queue: '$1 ? \'"', priority: -7, retry: { maxAttempts: 3 } })
    const [job] = await database.rows(`select args::text, queue, priority, retry from pgq.jobs`)
    expect(JSON.parse(job.args)).toEqual(HOSTILE)
    expect(job).toMatchObject({ queue: '$1 ? \'"', priority: -7, retry: { maxAttempts: 3 } })
  })

  test('calls in flight share statements, by whatever adapter of the same client', async () => {
    await Promise.all(
      Array.from({ length: 200 }, (_, args) => work.enqueue(args % 2 ? client.executor : client.again, args)),
    )
    expect(client.again).toBe(client.executor)
    expect(await storedArgs()).toEqual(Array.from({ length: 200 }, (_, args) => String(args)))
    const [{ transactions }] = await database.rows(
      'select count(distinct xmin::text)::integer as transactions from pgq.jobs',
    )
    expect(transactions).toBe(1)
  })

  test('a leased job is finished with the transaction, and not when it rolls back', async () => {
    const { workerId, jobs } = await leaseJobs(database.pool, [{ args: 1 }, { args: 2 }])
    const place = (ordinal: number) => ({ workerId, number: 1, ordinal })
    await client.transaction((trx) => finishInTransaction(trx, 'pgq', place(1), jobs[0]!.id))
    const failing = client.transaction(async (trx) => {
      await finishInTransaction(trx, 'pgq', place(2), jobs[1]!.id)
      throw new Error('roll back')
    })
    await expect(failing).rejects.toThrow('roll back')
    expect(await database.rows('select * from pgq.finished_jobs')).toEqual([
      { worker_id: workerId, number: '1', ordinal: 1 },
    ])
    const lost = client.transaction((trx) => finishInTransaction(trx, 'pgq', { ...place(1), number: 99 }, '5'))
    await expect(lost).rejects.toThrow(LostLeaseError)
  })

  test('the functions that manage jobs', async () => {
    const { executor } = client
    const [later] = await work.enqueueMany(executor, [{ args: 1, delayMs: 60_000 }, { args: 2 }])
    expect(await retryScheduledJobs(executor, { ids: [later!.id], queue: 'default', task: 'work' })).toBe(1)
    expect(await deleteWaitingJobs(executor, { queue: 'default' }, { limit: 1 })).toBe(1)
    expect(await deleteWaitingJobs(executor, { ids: ['9223372036854775807'] })).toBe(0)
    await database.pool.query(`insert into pgq.dead_jobs (id, task) values (77, 'work')`)
    expect(await redriveDeadJobs(executor, { ids: ['77'] })).toBe(1)
    expect(await database.rows('select id from pgq.jobs order by id')).toMatchObject([{}, { id: '77' }])
  })

  test('errors of PostgreSQL are recognised, and do not print the args', async () => {
    const secret = { password: 'hunter2' }
    await expect(enqueue(client.executor, 'work', secret, { schema: 'nowhere' })).rejects.toThrow(NotMigratedError)
    await database.pool.query(`alter table pgq.jobs add constraint no_secrets check (args::text not like '%hunter2%')`)
    try {
      const calls = [enqueue(client.executor, 'work', 'fine'), enqueue(client.executor, 'work', secret)]
      const [fine, refused] = await Promise.allSettled(calls)
      expect(fine?.status).toBe('fulfilled')
      expect(refused).toMatchObject({ status: 'rejected', reason: { code: '23514' } })
      expect(String((refused as PromiseRejectedResult).reason)).not.toContain('hunter2')
    } finally {
      await database.pool.query('alter table pgq.jobs drop constraint no_secrets')
    }
  })
})

test('knex: a ? of the statement itself is no placeholder, a parameter may be used twice and out of order', async () => {
  const knex = createKnex({ client: 'pg', connection: database.url })
  const result = await fromKnex(knex).query(
    `select $2::text as b, $1::text as a, $2::text as again, '?' as q, '??' as qq, '{"a":1}'::jsonb ? 'a' as has`,
    ['one', 'two'],
  )
  expect((result as { rows: unknown[] }).rows).toEqual([
    { b: 'two', a: 'one', again: 'two', q: '?', qq: '??', has: true },
  ])
  await knex.destroy()
})
