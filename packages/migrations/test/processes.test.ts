import { describe, expect, test } from 'vitest'
import { emptyDatabase } from './empty-database.js'
import { migrateInProcesses } from './migrating-process.js'
import { packageCopy } from './package-copy.js'

describe('20 processes at once', { timeout: 60_000 }, () => {
  // Catches: no lock of our own; the losers fail at "create schema" or "create table".
  test('one applies, the others do nothing', async () => {
    const results = await migrateInProcesses(await packageCopy(), 20, await emptyDatabase())
    const done = { schema: 'pgq', from: 1, to: 1, applied: [] }
    const first = { schema: 'pgq', from: 0, to: 1, applied: ['1_queue'] }
    expect(results.toSorted((a, b) => a.from - b.from)).toEqual([first, ...Array(19).fill(done)])
  })

  test('over two schemas: one of each applies', async () => {
    const results = await migrateInProcesses(await packageCopy(), 20, await emptyDatabase(), ['first', 'second'])
    const applied = results.filter((result) => result.applied.length > 0).map(({ schema }) => schema)
    expect(results.filter((result) => result.to !== 1)).toEqual([])
    expect(applied.sort()).toEqual(['first', 'second'])
  })

  // Catches: waiting inside pg_advisory_lock(): "create index concurrently" and the waiting sessions wait for each other.
  test('a migration that builds an index concurrently is not held up by those who wait', async () => {
    const copy = await packageCopy({
      '2_index.sql': '-- postgres-migrations disable-transaction\ncreate index concurrently own_idx on jobs (task);',
    })
    const results = await migrateInProcesses(copy, 20, await emptyDatabase())
    expect(results.filter((result) => result.to !== 2)).toEqual([])
    expect(results.filter((result) => result.applied?.length > 0)).toEqual([
      { schema: 'pgq', from: 0, to: 2, applied: ['1_queue', '2_index'] },
    ])
  })
})
