import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { InvalidOptionError, registerWorker, StandbyError } from '@pgq/core'
import { migrate } from '@pgq/migrations'
import { createDatabase, startPostgres } from '@pgq/test-db'
import { afterAll, describe, expect, test } from 'vitest'
import { createWorker } from '../src/index.js'
import { all, MODES, numbered, numbers, queue } from './queue.js'

const db = await queue()

describe('what a database, or a pooler in front of it, lacks', () => {
  /** Functions of this schema stand in front of PostgreSQL's own for a worker's connections. */
  const withFunctions = async (schema: string, ...functions: string[]) => {
    await db.pool.query(
      `create schema ${schema}; ${functions.map((text) => `create function ${schema}.${text}`).join(';')}`,
    )
    return { connection: { connectionString: db.url, options: `-c search_path=${schema},pg_catalog` } }
  }
  const answers = (value: string) => `language sql as $$ select ${value} $$`

  // Mutants: the probe's answer not used: jobs wait for a ring that never comes, or workers are judged by locks that nobody holds.
  test('a pooler: told, and jobs of every mode run all the same, also delayed and failed ones', async () => {
    const pooled = await withFunctions('pooler', `pg_backend_pid() returns integer ${answers('-1')}`)
    const quick = { minDelayMs: 10, jitter: 0 }
    const tasks = MODES.map((mode) => numbered(mode, mode === 'at-most-once' ? { mode } : { mode, retry: quick }))
    const runs: string[] = []
    const worker = db.idleWorker(
      tasks.map((task) =>
        task.handle((n, { attempt }) => {
          runs.push(`${task.name} ${n}.${attempt}`)
          if (n === 1 && attempt === 1) throw new Error('once')
        }),
      ),
      { ...pooled, concurrency: 2 },
    )
    const missed = all(worker, 'capability.missed')
    await worker.start()
    expect(missed).toEqual([{ capability: 'locks' }, { capability: 'notify' }])
    for (const task of tasks) {
      await task.enqueueMany(db.pool, [...numbers(2), { args: 2, delayMs: 100 }])
    }
    await db.empty(10_000)
    const once = (mode: string) => [
      `${mode} 0.1`,
      `${mode} 1.1`,
      ...(mode === 'at-most-once' ? [] : [`${mode} 1.2`]),
      `${mode} 2.1`,
    ]
    expect(runs.toSorted()).toEqual(MODES.flatMap(once))
    expect(await db.value('select count(*) from pgq.idle_workers')).toBe('0')
  })

  // Mutant: the setting of the session that the pooler gives counts: a crash of the server gives the job back, and it runs again.
  test('a pooler: a claim of at-most-once jobs waits for the disk, whatever is set', async () => {
    const { connection } = await withFunctions('async_pooler', `pg_backend_pid() returns integer ${answers('-1')}`)
    await db.pool.query(`
      create function note_claim() returns trigger language plpgsql as $$
      begin
        insert into public.effects values ((current_setting('synchronous_commit') = 'on')::integer);
        return old;
      end $$;
      create trigger note_claim before delete on pgq.jobs for each row execute function note_claim()`)
    const task = numbered('once', { mode: 'at-most-once' })
    const options = `${connection.options} -c synchronous_commit=off`
    await db.worker([task.handle(() => {})], { connection: { ...connection, options } })
    await task.enqueue(db.pool, 0)
    await db.empty()
    await db.pool.query('drop trigger note_claim on pgq.jobs')
    expect(await db.rows('select n from effects')).toEqual([{ n: 1 }])
  })

  test('session locks that nobody is refused: told, and noted for those who judge it', async () => {
    const taken = `pg_try_advisory_lock(integer, integer) returns boolean ${answers('true')}`
    const worker = db.idleWorker([numbered().handle(() => {})], await withFunctions('lockless', taken))
    const missed = all(worker, 'capability.missed')
    await worker.start()
    expect(missed).toEqual([{ capability: 'locks' }])
    expect(await db.rows('select locks, listens from pgq.workers')).toEqual([{ locks: false, listens: true }])
  })

  // Mutant: a worker without locks judged by them: it would be taken for dead at once, or never.
  test('a worker without locks lives while it beats, and is lost by its silence', async () => {
    const silent = { hostname: 'there', pid: 1, queues: ['default'], tasks: ['work'], locks: false, listens: false }
    const id = await registerWorker(db.pool, 'pgq', silent)
    const rescues = async () => {
      const worker = db.idleWorker([numbered().handle(() => {})])
      const rescued = all(worker, 'workers.rescued')
      await worker.start() // and rescues before its first claim
      await worker.stop()
      return rescued.flatMap(({ workers }) => workers)
    }
    expect(await rescues()).toEqual([])
    await db.pool.query("update pgq.workers set beat_at = now() - interval '1 minute'")
    expect(await rescues()).toEqual([id])
  })

  test('nothing: told nothing', async () => {
    const worker = db.idleWorker([numbered().handle(() => {})], { leaseMs: 2_000 })
    const missed = all(worker, 'capability.missed')
    await worker.start()
    expect(missed).toEqual([])
    expect(await db.rows('select locks, listens, lease_ms from pgq.workers')).toEqual([
      { locks: true, listens: true, lease_ms: 2_000 },
    ])
  })

  test('doorbell: false: nothing is missed that was not asked for', async () => {
    const worker = db.idleWorker([numbered().handle(() => {})], { doorbell: false })
    const missed = all(worker, 'capability.missed')
    await worker.start()
    expect(missed).toEqual([])
    expect(await db.rows('select locks, listens from pgq.workers')).toEqual([{ locks: true, listens: false }])
  })
})

describe('where a worker cannot work it does not start, and says why', async () => {
  const server = await startPostgres({ fast: true, settings: { max_connections: 20 } })
  afterAll(() => server.stop('immediate'))
  const own = await createDatabase(server.url)
  await migrate(own.url)
  const worker = (concurrency: number) =>
    createWorker({
      connectionString: own.url,
      handleSignals: false,
      concurrency,
      handlers: MODES.map((mode) => numbered(mode, { mode }).handle(() => {})),
    })

  // Mutant: no look at max_connections: it starts, and fails when all slots are busy.
  test('more connections than the server allows', async () => {
    const tooMany = worker(14)
    await expect(tooMany.start()).rejects.toThrow(InvalidOptionError)
    await expect(worker(14).start()).rejects.toThrow(
      'The worker needs 18 connections (3 + 1 for at-most-once + 14 transactional slots), and the server allows 17: lower concurrency.transactional, or raise max_connections.',
    )
    const fits = worker(13)
    await fits.start()
    await fits.stop()
  })

  test('a standby', async () => {
    await server.restart('fast', () => writeFileSync(join(server.dataDir, 'standby.signal'), ''))
    const refusal = worker(1).start()
    await expect(refusal).rejects.toThrow(StandbyError)
    await expect(refusal).rejects.toThrow(/standby, which cannot be written to: connect the worker to the primary/)
  })
})
