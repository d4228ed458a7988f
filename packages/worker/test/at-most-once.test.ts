import { enqueue } from '@pgq/core'
import pg from 'pg'
import { expect, onTestFinished, test, vi } from 'vitest'
import { all, numbered, queue, until } from './queue.js'

const db = await queue()
const task = numbered('work', { mode: 'at-most-once' })

type Query = (client: pg.Client, text: unknown, ...rest: unknown[]) => unknown

/** Has statements of all clients answered by others, by their text. */
function answering(answers: Record<string, (client: pg.Client, query: Query) => unknown>): void {
  const original = pg.Client.prototype.query as unknown as (...args: unknown[]) => unknown
  const query: Query = (client, ...args) => original.apply(client, args)
  const spy = vi.spyOn(pg.Client.prototype, 'query').mockImplementation(function (this: pg.Client, ...args: unknown[]) {
    const answer = typeof args[0] === 'string' ? answers[args[0]] : undefined
    return answer ? answer(this, query) : (original.apply(this, args) as any)
  } as never)
  onTestFinished(() => spy.mockRestore())
}

const XID = 'select pg_current_xact_id()::text as xid'
const ITS_END = 'select pg_terminate_backend(pg_backend_pid())'

/** How often the failure of one job was written, whose first COMMIT ends so. */
async function lettersOf(commit: (client: pg.Client, query: Query) => unknown, xid = XID) {
  let commits = 0
  answering({
    commit: (client, query) => (commits++ === 0 ? commit(client, query) : query(client, 'commit')),
    [XID]: (client, query) => query(client, xid),
  })
  await db.rows(`create table letters (id bigint);
    create function note() returns trigger language plpgsql as $$ begin insert into letters values (new.id); return null; end $$;
    create trigger note after insert or update on pgq.dead_jobs for each row execute function note()`)
  onTestFinished(() => db.rows('drop function note cascade; drop table letters') as Promise<never>)
  const worker = await db.worker([task.handle(() => Promise.reject(new Error('no')))])
  const settled = all(worker, 'job.settled')
  await enqueue(db.pool, 'work', 1)
  await until(() => settled.length === 1)
  return db.value('select count(*)::integer from letters')
}

// Mutant: written again, whatever became of the first try: a job that went back may have run by then.
test('a failure whose COMMIT lost its answer is not written again', async () => {
  const letters = await lettersOf(async (client, query) => {
    await query(client, 'commit')
    return query(client, ITS_END)
  })
  expect(letters).toBe(1)
})

test('one whose COMMIT did not come through is written again', async () => {
  expect(await lettersOf((client, query) => query(client, ITS_END))).toBe(1)
})

// Mutant: an error like others: it is asked again for ever, and nothing that fails later is written either.
test('nor did one whose transaction the server has yet to see: a standby took over that had not heard of it', async () => {
  const later = 'select (pg_current_xact_id()::text::bigint + 1000000000)::text as xid'
  expect(await lettersOf((client, query) => query(client, ITS_END), later)).toBe(1)
})
