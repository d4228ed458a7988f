import { migrate } from '@pgq/migrations'
import { startPostgres } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, expect, onTestFinished, test } from 'vitest'
import { health } from '../src/index.js'

const server = await startPostgres({ fast: true, settings: { max_prepared_transactions: 5 } })
afterAll(() => server.stop('immediate'))
await migrate(server.url)

async function connect(): Promise<pg.Client> {
  // Who waits for the lock fails by this, in place of waiting for ever.
  const client = new pg.Client({ connectionString: server.url, lock_timeout: 20_000 })
  await client.connect()
  onTestFinished(() => client.end())
  return client
}

// Mutant: locks of sessions alone: the questions to the tables wait for ever.
test.each(['prepared here', 'prepared before a restart'])(
  'a table that a prepared transaction locks, %s',
  async (when) => {
    const holder = await connect()
    holder.on('error', () => {})
    await holder.query(`begin; lock table pgq.jobs; prepare transaction 'it''s stuck'`)
    if (when !== 'prepared here') await server.restart('fast')
    const client = await connect()
    onTestFinished(() => client.query(`rollback prepared 'it''s stuck'`).then(() => {}))
    const { findings, unseen } = await health(client)
    expect(findings).toMatchObject([
      { code: 'tables-locked', evidence: [{ table: 'jobs', pid: null, prepared: "it's stuck", granted: true }] },
    ])
    expect(findings[0]!.message).toMatch(/^A prepared transaction \("it's stuck"\) holds an exclusive lock on jobs/)
    expect(findings[0]!.remedy).toContain(`rollback prepared 'it''s stuck'`)
    expect(unseen).toEqual([expect.stringContaining(`("it's stuck") lets nobody read jobs`)])
  },
)

test('rows that a prepared transaction locks: who waits for it is told, and for what', async () => {
  const [client, waiter] = [await connect(), await connect()]
  await client.query(`insert into pgq.jobs (queue, task) values ('default', 'mail')`)
  await client.query(`begin; select from pgq.jobs for update; prepare transaction 'rows'`)
  const waiting = waiter.query('delete from pgq.jobs')
  let found: Awaited<ReturnType<typeof health>>['findings'][number] | undefined
  while (!found) found = (await health(client)).findings.find(({ code }) => code === 'lock-waits')
  await client.query(`rollback prepared 'rows'`)
  await waiting
  expect(found.message).toContain('blocked by a prepared transaction')
  expect(found.remedy).toContain('pg_prepared_xacts')
  expect(found.evidence).toMatchObject([{ blockedBy: 'prepared transaction' }])
})
