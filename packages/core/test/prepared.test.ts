import pg from 'pg'
import { afterEach, expect, test } from 'vitest'
import { enqueue } from '../src/index.js'
import { queueDatabase } from './queue-database.js'

const database = await queueDatabase()
let pool: pg.Pool
afterEach(() => pool.end())

/** A pool of one connection, so that each statement of the test sees what the others left there. */
function poolOfOne(): pg.Pool {
  pool = new pg.Pool({ connectionString: database.url, max: 1 })
  return pool
}

const names = async () => (await pool.query('select name from pg_prepared_statements')).rows.map(({ name }) => name)
const jobs = async () => (await database.rows('select count(*)::integer as jobs from pgq.jobs'))[0].jobs

test('a pool keeps the statements of enqueue by name', async () => {
  poolOfOne()
  await enqueue(pool, 'work')
  await Promise.all([enqueue(pool, 'work'), enqueue(pool, 'work')])
  expect((await names()).sort()).toEqual(['pgq.enqueue', 'pgq.insert_jobs'])
})

// Mutant: no second try. The caller would hear of a statement that does not exist.
test('one that somebody deallocated is sent as text', async () => {
  poolOfOne()
  await enqueue(pool, 'work')
  await pool.query('discard all')
  await enqueue(pool, 'work')
  await enqueue(pool, 'work')
  expect(await jobs()).toBe(3)
  expect(await names()).toEqual([])
})

// Mutant: not asking for the process id. Behind PgBouncer the name would be unknown to the next server session.
test('nothing is kept behind a pooler, which makes up the process id', async () => {
  poolOfOne().on('connect', (client) => Object.assign(client, { processID: 1 }))
  await enqueue(pool, 'work')
  await enqueue(pool, 'work')
  expect(await names()).toEqual([])
  expect(await jobs()).toBe(2)
})

test('nor on a client, whose transaction could be ended by a name that is gone', async () => {
  const client = await poolOfOne().connect()
  await client.query('begin')
  await enqueue(client, 'work')
  await client.query('commit')
  client.release()
  expect(await names()).toEqual([])
})

test('a connection that breaks under the call gives its error to the call, and the pool goes on', async () => {
  poolOfOne()
  await enqueue(pool, 'work')
  const { rows } = await pool.query('select pg_backend_pid() as pid')
  const blocker = await database.connect()
  await blocker.query('begin; lock table pgq.jobs')
  const call = enqueue(pool, 'work')
  const failure = expect(call).rejects.toMatchObject({ code: '57P01' })
  const waits = `select exists(select from pg_locks where pid = ${rows[0].pid} and not granted) as waits`
  await expect.poll(async () => (await database.rows(waits))[0].waits).toBe(true)
  await database.rows(`select pg_terminate_backend(${rows[0].pid})`)
  await failure
  await blocker.query('rollback')
  await enqueue(pool, 'work')
})
