import { cancel, defineTask, enqueue, typed } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { Kysely, PostgresDialect, sql, type Transaction } from 'kysely'
import pg from 'pg'
import { afterAll, afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type EagerQueueOptions, eagerQueue } from '../src/index.js'

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url })
const db = new Kysely<any>({ dialect: new PostgresDialect({ pool }) })
await sql`create table notes (text text not null)`.execute(db)
afterAll(() => db.destroy())

const note = defineTask('note', { mode: 'transactional', args: typed<string>() })
const leased = defineTask('leased', { args: typed<string>() })
const write = (trx: Kysely<any>, text: string) => sql`insert into notes values (${text})`.execute(trx)
const notes = async (on: Kysely<any>) => {
  const { rows } = await sql<{ text: string }>`select text from notes order by text`.execute(on)
  return rows.map(({ text }) => text)
}
/** Nothing of pgq's own may be left in the database: a worker would run it again. */
const leftovers = async (on: Kysely<any> = db) => {
  const { rows } = await sql`select id from pgq.job_states`.execute(on)
  return rows
}

let trx: Transaction<any>
let end: () => Promise<unknown>
beforeEach(async () => {
  const begun = await db.startTransaction().execute()
  trx = begun
  end = () => begun.rollback().execute()
})
afterEach(async () => {
  await end()
  expect(await notes(db)).toEqual([])
  expect(await leftovers()).toEqual([])
})

/** A queue whose task "note" does what is given with its transaction. */
const queueOf = (run: (text: string, job: any) => unknown, options: Partial<EagerQueueOptions> = {}) =>
  eagerQueue({ handlers: [note.handle(run), leased.handle(run)], onError: 'record', ...options })

describe('attach(trx)', () => {
  test('what is enqueued on it runs, and job.trx is it', async () => {
    const queue = queueOf(async (text, job) => {
      expect(job.trx).toBe(trx)
      await write(job.trx, text)
    })
    using _ = queue.attach(trx)
    await write(trx, 'by the test')
    await note.enqueue(trx, 'by the handler')
    expect(await notes(trx)).toEqual(['by the handler', 'by the test'])
    queue.assertEnqueued(note, (text) => text === 'by the handler')
    expect(await leftovers(trx)).toEqual([])
  })

  // Mutant: no savepoint: what a failed handler wrote stays, or the whole transaction of the test is aborted.
  test('a handler that throws: what it wrote is rolled back, what the test wrote is not', async () => {
    const queue = queueOf(async (text, job) => {
      await write(job.trx, `${text} ${job.attempt}`)
      if (job.attempt === 1) await sql`select 1 / 0`.execute(job.trx)
    })
    using _ = queue.attach(trx)
    await write(trx, 'by the test')
    await note.enqueue(trx, 'attempt')
    expect(await notes(trx)).toEqual(['by the test'])
    await queue.drain()
    expect(await notes(trx)).toEqual(['attempt 2', 'by the test'])
    expect(queue.jobs[0]!.errors).toMatchObject([{ attempt: 1, message: 'division by zero' }])
  })

  test('a handler that swallows a failed statement: the attempt failed, as in a worker', async () => {
    const queue = queueOf(async (text, job) => {
      await write(job.trx, text)
      if (job.attempt === 1) await sql`select 1 / 0`.execute(job.trx).catch(() => {})
    })
    using _ = queue.attach(trx)
    await note.enqueue(trx, 'once')
    expect(await notes(trx)).toEqual([])
    expect(queue.jobs[0]!.errors[0]!.message).toMatch(/A statement failed inside job\.trx and the handler went on/)
    await queue.drain()
    expect(await notes(trx)).toEqual(['once'])
  })

  describe('deferred constraints', () => {
    beforeEach(() =>
      sql`create table pairs (id integer primary key, other integer references pairs deferrable initially deferred)`.execute(
        trx,
      ),
    )
    const pair = (on: Kysely<any>, id: number, other: number) =>
      sql`insert into pairs values (${id}, ${other})`.execute(on)
    const pairs = async () => (await sql`select from pairs`.execute(trx)).rows.length

    // Mutant: not checked: the handler that no commit would take passes.
    test('a handler that breaks one has failed, as where its transaction commits', async () => {
      const queue = queueOf((_, job) => pair(job.trx, 1, job.attempt === 1 ? 2 : 1))
      using _ = queue.attach(trx)
      await note.enqueue(trx, 'lonely')
      expect(queue.jobs).toMatchObject([
        { state: 'scheduled', errors: [{ message: expect.stringContaining('violates foreign key') }] },
      ])
      expect(await pairs()).toBe(0)
      await queue.drain()
      expect([queue.jobs[0]!.state, await pairs()]).toEqual(['completed', 1])
    })

    // Mutants: they stay immediate for the rest of the test; those that are immediate by themselves become deferred.
    test('are for the test afterwards as they were before', async () => {
      await sql`create table numbers (n integer unique deferrable initially immediate)`.execute(trx)
      const queue = queueOf((_, job) => pair(job.trx, 1, 1))
      using _ = queue.attach(trx)
      await note.enqueue(trx, 'well')
      await pair(trx, 2, 3)
      await pair(trx, 3, 2)
      await sql`insert into numbers values (1)`.execute(trx)
      await expect(sql`insert into numbers values (1)`.execute(trx)).rejects.toThrow('duplicate key')
    })
  })

  test('a transaction of the test that cannot go on: the enqueue says so, and the handler does not run', async () => {
    const queue = queueOf(() => expect.unreachable(), { onError: 'throw' })
    using _ = queue.attach(trx)
    await sql`select 1 / 0`.execute(trx).catch(() => {})
    await expect(note.enqueue(trx, 'x')).rejects.toMatchObject({ code: '25P02' })
  })

  test('a handler that cancels: what it wrote is rolled back', async () => {
    const queue = queueOf(async (text, job) => {
      await write(job.trx, text)
      return cancel('no')
    })
    using _ = queue.attach(trx)
    await note.enqueue(trx, 'gone')
    expect(await notes(trx)).toEqual([])
    expect(queue.jobs).toMatchObject([{ state: 'dead', reason: 'cancelled' }])
  })

  // Mutant: jobs of a failed transactional handler stay although its transaction, and so their rows, would be rolled back.
  test('jobs that a failed handler enqueued on job.trx are gone with it, those on another executor are not', async () => {
    const queue = queueOf(async (text, job) => {
      if (text !== 'parent') return
      await note.enqueue(job.trx, 'child')
      await leased.enqueue(queue, 'elsewhere')
      throw new Error('rolled back')
    })
    using _ = queue.attach(trx)
    await note.enqueue(trx, 'parent', { retry: { maxAttempts: 1 } })
    expect(queue.jobs.map(({ args, state }) => [args, state])).toEqual([
      ['parent', 'dead'],
      ['elsewhere', 'completed'],
    ])
  })

  test('several attached: a job runs in the transaction it was enqueued on', async () => {
    const other = await db.startTransaction().execute()
    const seen: unknown[] = []
    const queue = queueOf((_, job) => seen.push(job.trx === trx, job.trx === other))
    using _ = queue.attach(trx)
    using __ = queue.attach(other)
    await note.enqueue(trx, 'one')
    await note.enqueue(other, 'other')
    // Enqueued on the queue itself: the one that was attached last.
    await note.enqueue(queue, 'queue')
    await other.rollback().execute()
    expect(seen).toEqual([true, false, false, true, false, true])
  })

  test('a pg client may be attached, for enqueueing; job.trx must be one of Kysely', async () => {
    const client = await pool.connect()
    const queue = queueOf((_, job) => job.trx, { onError: 'throw' })
    using _ = queue.attach(client)
    await expect(note.enqueue(client, 'x')).rejects.toThrow('this eager queue has no transaction')
    client.release()
  })

  test('undone, its jobs are written again', async () => {
    const queue = queueOf(() => {})
    const undo = queue.attach(trx)
    await note.enqueue(trx, 'eager')
    undo()
    await note.enqueue(trx, 'written')
    expect((await leftovers(trx)).length).toBe(1)
    expect(queue.jobs.length).toBe(1)
  })

  // Mutant: an undo that does it again: it takes another's transaction away.
  test('undone twice is undone once', async () => {
    const seen: unknown[] = []
    const queue = queueOf((_, job) => seen.push(job.trx === trx))
    const undo = queue.attach(pool)
    using _ = queue.attach(trx)
    undo()
    undo()
    await note.enqueue(queue, 'still in the transaction')
    expect(seen).toEqual([true])
  })
})

describe('intercept()', () => {
  test('takes every enqueue, whatever its executor: pools, clients, Kysely, transactions', async () => {
    const seen: string[] = []
    const queue = queueOf((text) => seen.push(text))
    using _ = queue.intercept()
    await leased.enqueue(pool, 'pool')
    await leased.enqueue(db, 'kysely')
    await leased.enqueue(trx, 'transaction')
    await enqueue(pool, 'leased', 'by name')
    await db.transaction().execute(async (own) => void (await leased.enqueueMany(own, [{ args: 'bulk' }])))
    expect(seen).toEqual(['pool', 'kysely', 'transaction', 'by name', 'bulk'])
    expect(await leftovers()).toEqual([])
  })

  test('a transactional handler runs in the open transaction that it was enqueued on', async () => {
    const queue = queueOf((text, job) => write(job.trx, text))
    using _ = queue.intercept()
    await note.enqueue(trx, 'here')
    expect(await notes(trx)).toEqual(['here'])
  })

  // Mutant: the transaction that has ended, and an error of Kysely's that names neither.
  test('a job that runs when its transaction has ended: the error says so, and what to do', async () => {
    const queue = queueOf((text, job) => write(job.trx, text), { mode: 'manual', onError: 'throw' })
    using _ = queue.intercept()
    await db.transaction().execute(async (own) => void (await note.enqueue(own, 'late')))
    await expect(queue.drain()).rejects.toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringMatching(/the transaction that enqueued this job has ended .* queue\.attach\(trx\)/),
    })
  })

  test.each(['a pool of pg', 'a transaction of the code'])(
    'attach(trx) beside it: handlers of what comes by %s run in it, also later',
    async (by) => {
      const queue = queueOf((text, job) => write(job.trx, text))
      using _ = queue.intercept()
      using __ = queue.attach(trx)
      if (by === 'a pool of pg') await note.enqueue(pool, 'later', { delayMs: 1_000 })
      else await db.transaction().execute(async (own) => void (await note.enqueue(own, 'later', { delayMs: 1_000 })))
      await queue.advance(1_000)
      expect(await notes(trx)).toEqual(['later'])
    },
  )

  test('ends with its undo, also when the test throws: using', async () => {
    const queue = queueOf(() => {})
    const fails = async () => {
      using _ = queue.intercept()
      throw new Error('the test failed')
    }
    await expect(fails()).rejects.toThrow('the test failed')
    await leased.enqueue(trx, 'written')
    expect((await leftovers(trx)).length).toBe(1)
  })

  test('an attached executor goes to its own queue', async () => {
    const [everything, own] = [queueOf(() => {}), queueOf(() => {})]
    using _ = everything.intercept()
    using __ = own.attach(trx)
    await leased.enqueue(trx, 'own')
    await leased.enqueue(pool, 'everything')
    expect([own, everything].map(({ jobs }) => jobs.map(({ args }) => args))).toEqual([['own'], ['everything']])
  })

  // Mutant: an undo that restores what it found: the one undone first comes back with the last.
  test('several, undone in any order: the last that is left counts, and none is left in the end', async () => {
    const [one, two] = [queueOf(() => {}), queueOf(() => {})]
    const undoOne = one.intercept()
    const undoTwo = two.intercept()
    const again = two.intercept()
    await leased.enqueue(trx, 'a')
    undoOne()
    await leased.enqueue(trx, 'b')
    undoTwo()
    await leased.enqueue(trx, 'c')
    again()
    await leased.enqueue(trx, 'written')
    expect(two.jobs.map(({ args }) => args)).toEqual(['a', 'b', 'c'])
    expect(one.jobs).toEqual([])
    expect((await leftovers(trx)).length).toBe(1)
  })
})

test('a worker finds nothing to do afterwards: failed, delayed and retried jobs are in memory alone', async () => {
  const queue = queueOf(() => {
    throw new Error('no')
  })
  using _ = queue.intercept()
  await leased.enqueueMany(db, [{ args: 'fails' }, { args: 'delayed', delayMs: 60_000 }])
  await note.enqueue(trx, 'fails')
  expect(queue.jobs.map(({ state }) => state)).toEqual(['scheduled', 'scheduled', 'scheduled'])
  expect(await leftovers()).toEqual([])
  expect(await leftovers(trx)).toEqual([])
})
