import { createDatabase } from '@pgq/test-db'
import pg from 'pg'
import { expect, inject, onTestFinished, test } from 'vitest'
import { pgq } from './pgq-process.js'

test('up, nothing to do, down and up again', async () => {
  const { env } = await emptyDatabase()
  const up = await pgq(['migrate'], { env })
  expect(up).toMatchObject({ code: 0, stdout: 'Schema "pgq" went from version 0 to 1: 1_queue.\n' })
  expect((await pgq(['migrate'], { env })).stdout).toBe('Schema "pgq" is at version 1: nothing to do.\n')
  const down = await pgq(['migrate', '--down', '0', '--yes', '--json'], { env })
  expect(JSON.parse(down.stdout)).toEqual({ schema: 'pgq', from: 1, to: 0, reverted: ['1_queue'] })
  expect((await pgq(['migrate', '--down', '1', '--yes'], { env })).code).toBe(2)
})

// Mutant: down without a question.
test('down is asked about, and is not done where nobody can be asked', async () => {
  const { env } = await emptyDatabase()
  await pgq(['migrate', '--schema', 'jobs'], { env })
  const down = await pgq(['migrate', '--down', '0', '--schema', 'jobs'], { env })
  expect(down.code).toBe(2)
  expect(down.stderr).toContain('every job in it would be lost')
  expect(down.stderr).toContain('--yes')
  expect((await pgq(['migrate', '--schema', 'jobs'], { env })).stdout).toContain('nothing to do')
})

// Mutant: asked first, which fails where nobody can be asked.
test('down to a version that it cannot go down to is refused without a question', async () => {
  const { env } = await emptyDatabase()
  await pgq(['migrate'], { env })
  const down = await pgq(['migrate', '--down', '5'], { env })
  expect(down).toMatchObject({ code: 2, stderr: expect.stringContaining('is at version 1 and cannot go down to 5') })
  expect((await pgq(['migrate', '--down', '1'], { env })).stdout).toContain('nothing to do')
})

test('the SQL that it prints makes the same, and needs no database', async () => {
  const { url, env } = await emptyDatabase()
  const { stdout, code } = await pgq(['migrate', '--print', '--schema', 'jobs'])
  expect(code).toBe(0)
  const client = new pg.Client(url)
  await client.connect()
  await client.query(stdout)
  await client.end()
  expect((await pgq(['migrate', '--schema', 'jobs'], { env })).stdout).toContain('nothing to do')
  expect((await pgq(['migrate', '--print', '--down', '0'])).stdout).toContain('drop schema "pgq"')
})

test('a schema of a newer version is told, and does not keep one from looking', async () => {
  const { url, env } = await emptyDatabase()
  await pgq(['migrate'], { env })
  const client = new pg.Client(url)
  await client.connect()
  await client.query(`insert into pgq.migrations (id, name, hash) values (2, 'more', 'x')`)
  await client.end()
  const status = await pgq(['status'], { env })
  expect(status.code).toBe(0)
  expect(status.stderr).toContain('is at version 2, and this pgq knows versions up to 1: upgrade @pgq/cli.')
  expect(await pgq(['migrate'], { env })).toMatchObject({ code: 1, stderr: expect.stringContaining('Upgrade') })
})

test('a role without the right to is told where the rights are', async () => {
  const { url, env } = await emptyDatabase()
  const client = new pg.Client(url)
  await client.connect()
  await client.query(`create role pgq_no_rights login password 'x'`)
  onTestFinished(async () => {
    await client.query('drop role pgq_no_rights')
    await client.end()
  })
  const { host, pathname } = new URL(url)
  const { code, stderr } = await pgq(['migrate'], {
    env: { ...env, DATABASE_URL: `postgres://pgq_no_rights:x@${host}${pathname}` },
  })
  expect(stderr).toMatch(/permission denied.* "Roles" of pgq's docs\/operating\.md/)
  expect(code).toBe(1)
})

async function emptyDatabase() {
  const { url, drop } = await createDatabase(inject('pgqAdminUrl'))
  onTestFinished(drop)
  return { url, env: { DATABASE_URL: url } }
}
