import { enqueueMany, fail } from '@pgq/core'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { all, gate, numbered, numbers, queue, until } from './queue.js'

const db = await queue()
const task = numbered('work', { retry: { minDelayMs: 1, jitter: 0 } })

// Mutant: a lease counts as whole when all of it is settled, also what the statement under way does not write. Its row goes,
// and with it the job that has just failed.
test('a job that fails while its failed neighbour is written', async () => {
  const tooSoon = () => {
    throw new Error('first')
  }
  expect(await retriesOf(tooSoon, async () => {})).toEqual(['first', 'last'])
})

// Mutant: the same, decided before the first statement: a settlement that is tried again counts what ended since.
test('a job that fails while the settlement of its neighbour is tried again', async () => {
  const terminate = (pid: number) => db.rows('select pg_terminate_backend($1)', [pid])
  expect(await retriesOf(() => {}, terminate)).toEqual(['last'])
})

describe('a dead letter that the database refuses', () => {
  beforeAll(() =>
    db.rows(`create function refuse() returns trigger language plpgsql as $$ begin raise 'no letters of 13' using errcode = 'NO013'; end $$;
      create trigger refuse before insert on pgq.dead_jobs for each row when ((new.args #>> '{}')::integer = 13) execute function refuse()`),
  )
  afterAll(() => db.rows('drop function refuse cascade'))

  // Mutant: a refused statement is sent again and again: nothing of this worker is settled any more.
  test.each(['at-least-once', 'at-most-once'] as const)('%s: only its job is unsettled', async (mode) => {
    const failing = numbered('fails', {
      mode,
      ...(mode === 'at-least-once' && { retry: { maxAttempts: 1 } }),
    } as object)
    const failOdd = (n: number) => {
      if (n % 2 === 1) throw new Error('odd')
    }
    const worker = await db.worker([failing.handle(failOdd)])
    const [settled, unsettled] = [all(worker, 'job.settled'), all(worker, 'job.unsettled')]
    await failing.enqueueMany(db.pool, numbers(20))
    await until(() => settled.length + unsettled.length === 20)
    expect(unsettled).toMatchObject([{ error: { message: 'no letters of 13' } }])
    expect(await db.value('select count(*)::integer from pgq.dead_jobs')).toBe(9)
    // At-least-once: it is not lost, and its lease not removed with the others'.
    const kept = `select count(*)::integer from pgq.job_states where state = 'running' and args::text = '13'`
    expect(await db.value(kept)).toBe(mode === 'at-least-once' ? 1 : 0)
  })
})

// Mutants: what takes too long is sent again as it was, and takes too long again, for ever; it is taken for refused.
test.each(['at-least-once', 'at-most-once'] as const)(
  '%s: jobs that end in more time than one statement has are written by smaller ones',
  async (mode) => {
    await db.rows(`create function take_long() returns trigger language plpgsql as $$ begin
        if (select count(*) from buried) > 3 then raise 'too long' using errcode = '57014'; end if;
        return null;
      end $$;
      create trigger take_long after insert on pgq.dead_jobs referencing new table as buried for each statement execute function take_long()`)
    onTestFinished(() => db.rows('drop function take_long cascade') as Promise<never>)
    const failing = numbered('fails', { mode })
    const go = gate()
    let running = 0
    const handler = failing.handle(async () => {
      running += 1
      await go.opened
      return fail('no')
    })
    const worker = await db.worker([handler], { concurrency: 20 })
    const [settled, unsettled] = [all(worker, 'job.settled'), all(worker, 'job.unsettled')]
    await failing.enqueueMany(db.pool, numbers(20))
    await until(() => running === 20)
    go.open()
    await until(() => settled.length + unsettled.length === 20)
    expect(unsettled).toEqual([])
    expect(await db.value('select count(*)::integer from pgq.dead_jobs')).toBe(20)
  },
)

// Mutant: each is asked about by itself.
test('jobs that are finished by their handlers at about the same time are asked about together', async () => {
  const query = vi.spyOn(pg.Client.prototype, 'query')
  onTestFinished(() => query.mockRestore())
  const go = gate()
  let waiting = 0
  const handler = task.handle(async (_, job) => {
    await job.finish(db.pool)
    waiting += 1
    await go.opened
  })
  const worker = await db.worker([handler], { concurrency: 50 })
  const settled = all(worker, 'job.settled')
  await task.enqueueMany(db.pool, numbers(50))
  await until(() => waiting === 50)
  go.open()
  await until(() => settled.length === 50)
  const names = query.mock.calls.map(([sent]) => (sent as unknown as { name?: string }).name)
  const asked = names.filter((name) => name === 'pgq.are_finished').length
  expect(asked).toBeGreaterThan(0)
  expect(asked).toBeLessThan(10)
})

/**
 * Three jobs of one lease: while the end of the first is being written, the second succeeds and the third fails. Answers the
 * messages of the jobs that ran again; all three are done then, and none of them is lost.
 */
async function retriesOf(first: () => void, whileWriting: (pid: number) => Promise<unknown>): Promise<string[]> {
  const [running, firstMayEnd, othersMayEnd] = [gate(), gate(), gate()]
  let runs = 0
  const worker = db.idleWorker([
    task.handle(async (n, { attempt }) => {
      if (attempt > 1) return
      if (++runs === 3) running.open()
      await (n === 0 ? firstMayEnd : othersMayEnd).opened
      if (n === 0) first()
      if (n === 2) throw new Error('last')
    }),
  ])
  const lost = all(worker, 'job.lost')
  const settled = all(worker, 'job.settled')
  await enqueueMany(db.pool, 'work', numbers(3))
  await worker.start()
  await running.opened
  const letGo = await holdTheLease()
  firstMayEnd.open()
  await until(() => db.value(WAITING))
  othersMayEnd.open()
  await whileWriting(await db.value(WAITING))
  await letGo()
  const done = () => settled.filter(({ settlement }) => settlement.kind === 'complete')
  await until(() => done().length + lost.length === 3)
  expect(lost).toEqual([])
  await db.empty()
  return settled.flatMap(({ settlement }) => (settlement.kind === 'requeue' ? settlement.error!.message : []))
}

/** The worker of these tests, as it waits to write a settlement. */
const WAITING = `select pid from pg_stat_activity
  where datname = current_database() and application_name = 'pgq worker' and wait_event_type = 'Lock'`

async function holdTheLease(): Promise<() => Promise<unknown>> {
  const client = await db.pool.connect()
  onTestFinished(() => client.release())
  await client.query('begin')
  const { rows } = await client.query('select cardinality(ids) as jobs from pgq.leases for update')
  expect(rows).toEqual([{ jobs: 3 }])
  return () => client.query('rollback')
}
