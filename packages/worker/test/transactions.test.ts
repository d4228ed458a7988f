import { enqueueMany, LostLeaseError } from '@pgq/core'
import { sql } from 'kysely'
import { beforeAll, describe, expect, test } from 'vitest'
import { all, gate, next, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
const quick = { minDelayMs: 1, jitter: 0 }
const effects = () => db.rows('select n from effects order by n')

beforeAll(() =>
  db.pool.query(`create table parents (id integer primary key);
    create table children (parent integer references parents deferrable initially deferred)`),
)

describe('transactional', () => {
  const task = numbered('work', { mode: 'transactional', retry: quick })

  test('what the handler writes commits with the job', async () => {
    const worker = await db.worker([task.handle((n, { trx }) => sql`insert into effects values (${n})`.execute(trx))])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 3)
    await settled
    expect(await effects()).toEqual([{ n: 3 }])
    await db.empty()
  })

  // Mutant: its connection with the planner settings of our own ones.
  test('the handler is planned by the settings of its database', async () => {
    const settings = `select array[current_setting('enable_seqscan'), current_setting('enable_bitmapscan'), current_setting('jit')] as now`
    const usual = await db.value<string[]>(settings)
    const seen: unknown[] = []
    const worker = await db.worker([
      task.handle(
        async (_, { trx }) => void seen.push((await sql.raw<{ now: string[] }>(settings).execute(trx)).rows[0]!.now),
      ),
    ])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await settled
    expect(seen).toEqual([usual])
  })

  // Mutants: no look at the lease in a connection younger than the claim; a look that believes any lease: each effect twice.
  test('a claim that the server forgot in a crash: what had not begun is lost here, and runs elsewhere', async () => {
    const { opened, open } = gate()
    const worker = await db.worker(
      [
        task.handle(async (n, { trx }) => {
          if (n === 9) return
          await sql`insert into effects values (${n})`.execute(trx)
          if (n === 0) await opened
        }),
      ],
      { concurrency: 1 },
    )
    // Short ones first, so that it claims ahead.
    await task.enqueueMany(db.pool, numbers(20).map(() => ({ args: 9 }))) // biome-ignore format: short
    await db.empty()
    const lost = all(worker, 'job.lost')
    const client = await db.pool.connect()
    await client.query('begin')
    await task.enqueueMany(client, numbers(3))
    await client.query('create table before_claim as table pgq.jobs; commit')
    client.release()
    await until(async () => (await db.value('select sum(cardinality(ids))::integer from pgq.leases')) === 3)
    await db.pool.query(`
      delete from pgq.leases;
      insert into pgq.jobs select * from before_claim where args::text <> '0'`)
    await db.pool.query(`select pg_terminate_backend(pid) from pg_stat_activity
      where datname = current_database() and application_name = 'pgq worker'`)
    open()
    await db.empty()
    await until(() => lost.length === 3)
    await db.pool.query('drop table before_claim')
    expect(await effects()).toEqual([{ n: 1 }, { n: 2 }])
  })

  // Mutant: an error of COMMIT that is not told as refused: the attempt is not counted and the error is lost.
  test('a COMMIT that a deferred constraint refuses: retried, the attempt and the error kept, no effects', async () => {
    const attempts: number[] = []
    const worker = await db.worker([
      task.handle(async (n, { trx, attempt }) => {
        attempts.push(attempt)
        await sql`insert into effects values (${n})`.execute(trx)
        if (attempt === 1) await sql`insert into children values (99)`.execute(trx)
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(attempts).toEqual([1, 2])
    expect(settled[0]).toMatchObject({
      outcome: { type: 'error', error: { code: '23503' } },
      settlement: { kind: 'requeue' },
    })
    expect(await effects()).toEqual([{ n: 1 }])
  })

  test('its last attempt refused at COMMIT: a dead letter with the error', async () => {
    const last = numbered('work', { mode: 'transactional', retry: { maxAttempts: 1 } })
    const worker = await db.worker([last.handle((_, { trx }) => sql`insert into children values (99)`.execute(trx))])
    const settled = next(worker, 'job.settled')
    await last.enqueue(db.pool, 1)
    await settled
    expect(await db.value("select errors->0->>'message' from pgq.dead_jobs where reason = 'exhausted'")).toMatch(
      'foreign key',
    )
  })

  // Mutant: isSpoiled() always false and COMMIT's answer not checked: the job counts as done, its effects are gone.
  test('a handler that swallows a failed statement: failed, not committed', async () => {
    const worker = await db.worker([
      task.handle(async (n, { trx, attempt }) => {
        await sql`insert into effects values (${n})`.execute(trx)
        if (attempt === 1) await sql`select 1 / 0`.execute(trx).catch(() => {})
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(settled.map(({ outcome }) => outcome.type)).toEqual(['error', 'success'])
    expect(await effects()).toEqual([{ n: 1 }])
  })

  test('a handler that throws: its writes are rolled back, the job is retried', async () => {
    const worker = await db.worker([
      task.handle(async (n, { trx, attempt }) => {
        await sql`insert into effects values (${n * 10 + attempt})`.execute(trx)
        if (attempt === 1) throw new Error('not yet')
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(await effects()).toEqual([{ n: 12 }])
  })

  // Mutant: an undone handler whose transaction goes on: the next job on the connection commits its writes.
  test('one that fails and one that ends well, again and again on one connection', async () => {
    const worker = await db.worker(
      [
        task.handle(async (n, { trx, attempt }) => {
          await sql`insert into effects values (${n})`.execute(trx)
          if (attempt === 1 && n % 2 === 0) throw new Error('not yet')
        }),
      ],
      { concurrency: 1 },
    )
    const settled = all(worker, 'job.settled')
    await task.enqueueMany(db.pool, numbers(20))
    await until(() => settled.length === 30)
    await db.empty()
    expect(await effects()).toEqual(Array.from({ length: 20 }, (_, n) => ({ n })))
    // Mutant: the lease of jobs that were returned and of others that were committed keeps its row.
    await until(async () => (await db.value('select count(*)::integer from pgq.leases')) === 0)
    expect(await db.rows('select * from pgq.finished_jobs')).toEqual([])
  })

  // Mutant: sent: it would end the transaction of others that share it, and their jobs count as done.
  test.each(['commit', ' ROLLBACK', 'begin', 'end', 'start  transaction', "prepare transaction 'x'"])(
    'job.trx takes no %s',
    async (text) => {
      const worker = await db.worker(
        [
          task.handle(async (n, { trx, attempt }) => {
            await sql`insert into effects values (${n})`.execute(trx)
            await sql`savepoint mine`.execute(trx)
            await sql`rollback to savepoint mine`.execute(trx)
            if (n === 1 && attempt === 1) await sql.raw(text).execute(trx)
          }),
        ],
        { transactionalGroup: 10 },
      )
      const settled = all(worker, 'job.settled')
      await task.enqueueMany(db.pool, numbers(3))
      await until(() => settled.length >= 4)
      const failed = settled.filter(({ outcome }) => outcome.type === 'error')
      expect(failed).toMatchObject([{ outcome: { error: { code: 'PGQ_INVALID_OPTION' } } }])
      expect(await effects()).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }])
    },
  )

  test('job.trx tells how many rows it changed, and what tables there are; it does not stream', async () => {
    const seen: unknown[] = []
    const worker = await db.worker([
      task.handle(async (_, { trx }) => {
        seen.push(
          await trx
            .insertInto('effects')
            .values([{ n: 1 }, { n: 2 }])
            .executeTakeFirst(),
        )
        seen.push(await trx.updateTable('effects').set({ n: 3 }).executeTakeFirst())
        seen.push(await trx.selectFrom('effects').selectAll().execute())
        seen.push((await trx.introspection.getTables()).some(({ name }) => name === 'effects'))
        for await (const row of trx.selectFrom('effects').selectAll().stream()) seen.push(row)
      }),
    ])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    const { outcome } = await settled
    expect(seen).toMatchObject([{ numInsertedOrUpdatedRows: 2n }, { numUpdatedRows: 2n }, [{ n: 3 }, { n: 3 }], true])
    expect(outcome).toMatchObject({
      error: { code: 'PGQ_INVALID_OPTION', message: 'Streaming is not available in job.trx: read in pages.' },
    })
    expect(await effects()).toEqual([])
  })

  test('job.trx.transaction() is refused', async () => {
    const refused = gate<unknown>()
    await db.worker([
      task.handle(async (_, { trx }) => {
        try {
          await trx.transaction().execute(async () => {})
        } catch (error) {
          refused.open(error)
        }
      }),
    ])
    await task.enqueue(db.pool, 1)
    expect(String(await refused.opened)).toMatch(/transaction|job\.trx/)
  })

  // Mutant: no close(): the late insert commits in the next job's transaction, or by itself.
  test('job.trx runs nothing after its job', async () => {
    const go = gate()
    const late = gate<unknown>()
    const worker = await db.worker(
      [
        task.handle((n, { trx }) => {
          if (n > 0) return
          void go.opened.then(() => sql`insert into effects values (666)`.execute(trx)).then(late.open, late.open)
        }),
      ],
      { concurrency: 1 },
    )
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 0)
    await until(() => settled.length === 1)
    go.open()
    expect(await late.opened).toMatchObject({
      code: 'PGQ_INVALID_OPTION',
      message: expect.stringContaining('job.trx ended with its job'),
    })
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(await effects()).toEqual([])
  })

  test('a connection that dies under the handler: the job runs again, nothing is committed twice', async () => {
    const worker = await db.worker([
      task.handle(async (n, { trx }) => {
        await sql`insert into effects values (${n})`.execute(trx)
        const runs = await db.pool.query(
          'insert into runs (n) values ($1) returning (select count(*)::int from runs)',
          [n],
        )
        if (runs.rows[0].count === 0) await sql`select pg_terminate_backend(pg_backend_pid())`.execute(trx)
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.some(({ outcome }) => outcome.type === 'success'))
    await db.empty()
    expect(await effects()).toEqual([{ n: 1 }])
  })

  // Mutant: the error of the statement, which says that the client is not queryable.
  test.each([
    ['asks again', true],
    ['just ends', false],
  ])('a handler that waits longer than the server lets a transaction be idle, and %s', async (_, asksAgain) => {
    const idle = { connectionString: db.url, idle_in_transaction_session_timeout: 200 }
    const worker = await db.worker(
      [
        task.handle(async (_, { trx, attempt }) => {
          if (attempt > 1) return
          const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx)
          const session = 'select count(*)::int from pg_stat_activity where pid = $1'
          await until(async () => (await db.value(session, [rows[0]!.pid])) === 0)
          if (asksAgain) await sql`select 1`.execute(trx)
        }),
      ],
      { connection: idle },
    )
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.some(({ outcome }) => outcome.type === 'success'))
    expect(settled.map(({ attempt }) => attempt)).toEqual([1, 2])
    expect(settled[0]).toMatchObject({
      outcome: {
        type: 'error',
        error: { message: expect.stringContaining('for longer than idle_in_transaction_session_timeout') },
      },
      settlement: { kind: 'requeue' },
    })
  })
})

describe('finish(trx) of at-least-once', () => {
  const task = numbered('work', { retry: quick })
  const inTransaction = async (end: 'commit' | 'rollback', work: (client: any) => Promise<unknown>) => {
    const client = await db.pool.connect()
    try {
      await client.query('begin')
      await work(client)
      await client.query(end)
    } catch (error) {
      await client.query('rollback')
      throw error
    } finally {
      client.release()
    }
  }
  const effect = (n: number, job: any) => async (client: any) => {
    await client.query('insert into effects values ($1)', [n])
    await job.finish(client)
  }

  test('rolled back, then thrown: the job runs again', async () => {
    const worker = await db.worker([
      task.handle(async (n, job) => {
        await inTransaction(job.attempt === 1 ? 'rollback' : 'commit', effect(n, job))
        if (job.attempt === 1) throw new Error('rolled back')
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(await effects()).toEqual([{ n: 1 }])
    await db.empty()
  })

  // Mutant: a success is acknowledged without a look: PostgreSQL answers such a COMMIT with ROLLBACK, and no error.
  test('a COMMIT that was a ROLLBACK: failed, run again, the effect once', async () => {
    const worker = await db.worker([
      task.handle(async (n, job) => {
        await inTransaction('commit', async (client) => {
          await effect(n, job)(client)
          if (job.attempt === 1) await client.query('select 1 / 0').catch(() => {})
        })
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await until(() => settled.length === 2)
    expect(settled.map(({ outcome, attempt }) => [outcome.type, attempt])).toEqual([
      ['error', 1],
      ['success', 2],
    ])
    expect(await effects()).toEqual([{ n: 1 }])
    await db.empty()
  })

  // Mutant: return_jobs without the look at finished_jobs.
  test('committed, then thrown: the job stays finished', async () => {
    const worker = await db.worker([
      task.handle(async (n, job) => {
        await inTransaction('commit', effect(n, job))
        throw new Error('after the finish')
      }),
    ])
    const settled = next(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    // Mutant: told and counted as a failed attempt, although it will not run again.
    const error = expect.objectContaining({ message: 'after the finish' })
    expect(await settled).toMatchObject({ settlement: { kind: 'complete' }, outcome: { type: 'success', error } })
    await db.empty()
    expect(await db.rows('select * from pgq.finished_jobs union all select id, 0, 0 from pgq.dead_jobs')).toEqual([])
    expect(await effects()).toEqual([{ n: 1 }])
  })

  // Mutant: finish() that does not look whether its run was settled: both runs commit.
  test('called after the run was given up: refused, the effect once', async () => {
    const hasty = numbered('hasty', { timeoutMs: 1, retry: quick })
    const [given, tried] = [gate(), gate()]
    const refused: unknown[] = []
    const worker = await db.worker([
      hasty.handle(async (n, job) => {
        if (job.attempt === 1) await given.opened // its signal does not matter to it
        await inTransaction('commit', effect(n, job)).catch((error) => refused.push(error))
        if (job.attempt === 1) tried.open()
      }),
    ])
    worker.on('job.stuck', () => given.open())
    const settled = all(worker, 'job.settled')
    await hasty.enqueue(db.pool, 1)
    await tried.opened
    await until(() => settled.length === 2)
    expect(refused).toEqual([expect.any(LostLeaseError)])
    expect(await effects()).toEqual([{ n: 1 }])
  })

  // Mutant: a settlement that does not wait for the call of finish(): it finds nothing finished, and the job runs again.
  test('still on its way when the handler throws: its end decides', async () => {
    const [called, begun, release] = [gate(), gate(), gate()]
    const ended: Promise<unknown>[] = []
    const slow = (client: any) => ({
      async query(text: string, values: unknown[]) {
        called.open()
        await release.opened
        return client.query(text, values)
      },
    })
    const worker = await db.worker([
      task.handle(async (n, job) => {
        if (n === 2) return
        ended.push(inTransaction('commit', (client) => effect(n, { finish: () => job.finish(slow(client)) })(client)))
        await called.opened
        begun.open()
        throw new Error('does not wait for it')
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await begun.opened
    await task.enqueue(db.pool, 2)
    await until(() => settled.length > 0)
    release.open()
    await until(() => settled.length === 2)
    await Promise.all(ended)
    expect(settled.map(({ outcome }) => outcome.type)).toEqual(['success', 'success'])
    expect(await effects()).toEqual([{ n: 1 }])
    await db.empty()
  })

  // Mutant: released like any job that the stop cut off: nobody is told that it is done, and no statistics count it.
  test('committed, then aborted by the stop: told as completed', async () => {
    const finished = gate()
    const worker = await db.worker(
      [
        task.handle(async (n, job) => {
          await inTransaction('commit', effect(n, job))
          finished.open()
          await new Promise((_, reject) => job.signal.addEventListener('abort', () => reject(job.signal.reason)))
        }),
      ],
      { graceMs: 0 },
    )
    const [settled, released] = [all(worker, 'job.settled'), all(worker, 'job.released')]
    await task.enqueue(db.pool, 1)
    await finished.opened
    await worker.stop()
    expect([settled.map(({ settlement }) => settlement.kind), released]).toEqual([['complete'], []])
    expect(await db.rows('select completed::integer from pgq.job_stats')).toEqual([{ completed: 1 }])
    await db.empty()
  })

  // Mutant: a job whose finish() is still open is returned at once: it runs again, and has two effects.
  test('still open when the handler throws: its end decides', async () => {
    const begun = gate()
    const release = gate()
    const ended: Promise<unknown>[] = []
    const worker = await db.worker([
      task.handle(async (n, job) => {
        if (n === 2) return
        const finished = gate()
        ended.push(
          inTransaction('commit', async (client) => {
            await effect(n, job)(client)
            finished.open()
            await release.opened
          }),
        )
        await finished.opened
        begun.open()
        throw new Error('does not wait for its transaction')
      }),
    ])
    const settled = all(worker, 'job.settled')
    await task.enqueue(db.pool, 1)
    await begun.opened
    await task.enqueue(db.pool, 2)
    await until(() => settled.length > 0)
    expect(settled).toMatchObject([{ outcome: { type: 'success' } }])
    release.open()
    await until(() => settled.length === 2)
    await Promise.all(ended)
    await db.empty()
    expect(await effects()).toEqual([{ n: 1 }])
  })

  // Mutant: finish without "for key share" on the lease; acknowledge that takes zero rows for success.
  test('a lease deleted behind its back: LostLeaseError, and job.lost', async () => {
    const thrown = gate<unknown>()
    const worker = await db.worker([
      task.handle(async (n, job) => {
        await db.pool.query('delete from pgq.leases')
        await inTransaction('commit', effect(n, job)).catch(thrown.open)
      }),
    ])
    const lost = next(worker, 'job.lost')
    await enqueueMany(db.pool, 'work', [{ args: 1 }])
    expect(await thrown.opened).toBeInstanceOf(LostLeaseError)
    expect((await lost).error).toBeInstanceOf(LostLeaseError)
    expect(await effects()).toEqual([])
  })
})

// Mutant: its transaction left open until the next try: whoever uses the connection in between runs inside it, and fails.
test('an end that the database refuses to record, again and again, holds up no other job', async () => {
  await db.pool.query(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not now' using errcode = '55000'; end $$;
    create trigger refuse before insert on pgq.dead_jobs for each row execute function refuse()`)
  const once = numbered('once', { mode: 'at-most-once' })
  const other = numbered('other')
  const worker = await db.worker([
    once.handle(() => {
      throw new Error('to be recorded')
    }),
    other.handle(() => {}),
  ])
  const settled = all(worker, 'job.settled')
  const lost = next(worker, 'database.lost')
  await once.enqueue(db.pool, 1)
  await lost
  for (let n = 1; n <= 20; n++) {
    const start = performance.now()
    await other.enqueue(db.pool, n)
    await until(() => settled.length === n)
    expect(performance.now() - start).toBeLessThan(1_000)
    await pause(100)
  }
  await db.pool.query('drop trigger refuse on pgq.dead_jobs')
  await until(() => settled.length === 21)
  expect(await db.rows('select task, reason from pgq.dead_jobs')).toEqual([{ task: 'once', reason: 'failed' }])
})
