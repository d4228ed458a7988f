import { sql } from 'kysely'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { all, numbered, numbers, pause, queue, until } from './queue.js'

const db = await queue()
const task = numbered('work', { mode: 'transactional', retry: { minDelayMs: 1, jitter: 0 } })
const grouped = { transactionalGroup: 20, concurrency: 1 }
const effects = async () => (await db.rows('select n from effects order by n')).map(({ n }) => n)
const countTo = (end: number) => Array.from({ length: end }, (_, n) => n)

beforeAll(() =>
  db.pool.query(`create table parents (id integer primary key);
    create table children (parent integer references parents deferrable initially deferred);
`),
)

/** Runs `count` jobs whose handler writes its number, and does `also` before. Answers the settlements. */
async function run(
  count: number,
  also: (n: number, job: { attempt: number; trx: any }) => unknown = () => {},
  options: object = grouped,
) {
  await task.enqueueMany(db.pool, numbers(count))
  const worker = db.idleWorker(
    [
      task.handle(async (n, job) => {
        await sql`insert into effects values (${n})`.execute(job.trx)
        await also(n, job)
      }),
    ],
    options,
  )
  const settled = all(worker, 'job.settled')
  const unsettled = all(worker, 'job.unsettled')
  const released = all(worker, 'job.released')
  await worker.start()
  await until(() => settled.filter(({ settlement }) => settlement.kind === 'complete').length === count)
  await db.empty()
  return { settled, unsettled, released }
}

// Mutant: the release of its jobs without a listener: a refusal ends the process.
test('a group that cannot commit, and whose jobs the database does not take back', async () => {
  await db.rows(`create function refuse() returns trigger language plpgsql as $$ begin raise 'not again'; end $$`)
  onTestFinished(() => db.rows('drop function refuse cascade') as Promise<never>)
  await task.enqueueMany(db.pool, numbers(5))
  await db.rows('create trigger refuse before insert on pgq.jobs for each row execute function refuse()')
  const violate = async (n: number, { trx }: { trx: any }) => {
    await sql`insert into children values (${n === 3 ? n : null})`.execute(trx)
  }
  const worker = db.idleWorker([task.handle(violate)], grouped)
  const [settled, unsettled] = [all(worker, 'job.settled'), all(worker, 'job.unsettled')]
  await worker.start()
  await until(() => settled.length + unsettled.length === 5)
  expect(unsettled.length).toBeGreaterThan(1)
  expect(await db.value(`select count(*)::integer from pgq.job_states where state = 'running'`)).toBe(unsettled.length)
})

describe('a group of transactional jobs', () => {
  test('commits once for all, in their order, each exactly once', async () => {
    await run(100)
    expect(await effects()).toEqual(countTo(100))
    const transactions = await db.value('select count(distinct xmin::text)::integer from effects')
    expect(transactions).toBeGreaterThanOrEqual(5) // savepoints have numbers of their own: what counts is below
  })

  // Mutant: rollback instead of rollback to savepoint: the neighbours' writes are gone, and they count as done.
  test('one that fails undoes nothing of its neighbours, and runs again', async () => {
    const { settled } = await run(20, (n, { attempt }) => {
      if (n % 5 === 0 && attempt === 1) throw new Error('not yet')
    })
    expect(settled.filter(({ outcome }) => outcome.type === 'error').map(({ attempt }) => attempt)).toEqual([
      1, 1, 1, 1,
    ])
    expect(await effects()).toEqual(countTo(20))
  })

  test('a statement that failed and was swallowed counts for its own job alone', async () => {
    const { settled } = await run(10, async (n, { attempt, trx }) => {
      if (n === 3 && attempt === 1) await sql`select 1 / 0`.execute(trx).catch(() => {})
    })
    expect(settled.filter(({ outcome }) => outcome.type === 'error')).toHaveLength(1)
    expect(await effects()).toEqual(countTo(10))
  })

  // Mutant: groups go on after one that could not commit: it never ends.
  test('when the commit is refused all run again, one by one, and the guilty one answers for itself', async () => {
    const { settled, unsettled } = await run(10, async (n, { attempt, trx }) => {
      if (n === 3 && attempt === 1) await sql`insert into children values (99)`.execute(trx)
    })
    expect(unsettled.length).toBeGreaterThan(1) // how many are in its group, the pace of those before decides
    const errors = settled.filter(({ outcome }) => outcome.type === 'error')
    expect(errors).toMatchObject([{ attempt: 1, outcome: { error: { code: '23503' } } }])
    expect(await effects()).toEqual(countTo(10))
  })

  test('a connection that dies under one of them takes the group along, and nothing is committed twice', async () => {
    let killed = false
    await run(10, async (n, { trx }) => {
      if (n !== 5 || killed) return
      killed = true
      await sql`select pg_terminate_backend(pg_backend_pid())`.execute(trx)
    })
    expect(await effects()).toEqual(countTo(10))
  })

  // Mutant: one that is alone in what cannot be committed counts as its cause: with one attempt it is a dead letter.
  test('nor does it count as a failure of the one that had ended before', async () => {
    const kill = async (n: number, { attempt, trx }: { attempt: number; trx: any }) => {
      if (n % 4 === 0 && attempt === 1) await sql`select pg_terminate_backend(pg_backend_pid())`.execute(trx)
    }
    const { settled } = await run(40, kill, { ...grouped, transactionalGroup: 2 })
    expect(settled.filter(({ outcome }) => outcome.type === 'error')).toHaveLength(10)
    expect(await effects()).toEqual(countTo(40))
  })

  // Mutant: no limit of time: what is done waits for twenty slow handlers.
  test('slow handlers: what began within 100 ms commits together, and not all of them', async () => {
    await db.pool.query('create table written_at (at timestamptz default now())')
    await run(8, async (_, { trx }) => {
      await sql`insert into written_at default values`.execute(trx) // when its transaction began
      await pause(40)
    })
    expect(await effects()).toEqual(countTo(8))
    const commits = await db.value('select count(distinct at)::integer from written_at')
    expect(commits).toBeGreaterThan(2)
    expect(commits).toBeLessThan(8)
  })
})
