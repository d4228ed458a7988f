import { InvalidOptionError } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
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

test.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, '50; drop schema pgq' as never])(
  'ms that are none are refused: %s',
  (timeoutMs) => {
    expect(() => limitTime(pool, timeoutMs)).toThrow(InvalidOptionError)
    expect(() => limitTime(pool, timeoutMs)).toThrow('use a whole number over 0')
  },
)
