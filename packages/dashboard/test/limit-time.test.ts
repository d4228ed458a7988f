import { InvalidOptionError } from '@pgq/core'
import { startProxy, testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, expect, test } from 'vitest'
import { limitTime } from '../src/index.js'

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url, max: 1 })
afterAll(() => pool.end())

test('a statement that takes longer is ended, and the next one runs', async () => {
  const executor = limitTime(pool, 1_000)
  await expect(executor.query('select pg_sleep($1)', [60])).rejects.toMatchObject({ code: '57014' })
  expect(await executor.query('select $1::integer as n', [1])).toMatchObject({ rows: [{ n: 1 }] })
})

// Mutant: nobody listens to the client: its event ends the process, and this run.
test('a connection that is lost fails its statement, and no more', async () => {
  const { hostname, port } = new URL(database.url)
  const proxy = await startProxy(Number(port || 5432), hostname)
  const far = new pg.Pool({ connectionString: proxy.through(database.url), max: 1 })
  const executor = limitTime(far, 60_000)
  const lost = executor.query('select pg_sleep($1)', [60])
  await Promise.all([
    expect(lost).rejects.toThrow(),
    expect
      .poll(() => proxy.connections[0]?.sent)
      .toContain('pg_sleep')
      .then(proxy.cut),
  ])
  expect(await executor.query('select $1::integer as n', [1])).toMatchObject({ rows: [{ n: 1 }] })
  await far.end()
  await proxy.close()
})

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '50; drop schema pgq' as never])(
  'ms that are none are refused: %s',
  (timeoutMs) => {
    expect(() => limitTime(pool, timeoutMs)).toThrow(InvalidOptionError)
    expect(() => limitTime(pool, timeoutMs)).toThrow('use a whole number over 0')
  },
)
