import { cancel, defineTask, fail, snooze } from '@pgq/core'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { Connection } from '../src/connection.js'
import { Events } from '../src/events.js'
import { silentLogger } from '../src/logger.js'
import { Stats } from '../src/stats.js'
import { all, MODES, numbered, numbers, queue } from './queue.js'

const { pool, url, rows, value, worker, empty } = await queue()

const counted = () =>
  rows(`select queue, task, sum(completed)::integer as completed, sum(retried)::integer as retried,
      sum(snoozed)::integer as snoozed, sum(exhausted)::integer as exhausted, sum(failed)::integer as failed,
      sum(cancelled)::integer as cancelled
    from pgq.job_stats group by queue, task order by queue, task`)

const none = { completed: 0, retried: 0, snoozed: 0, exhausted: 0, failed: 0, cancelled: 0 }

describe('a worker', () => {
  // Mutants: nothing written on stop; a snooze as a retry; deaths without their reason; one counter for all tasks.
  test('counts how jobs end, by queue and task, and writes what is left when it stops', async () => {
    const work = numbered('work', { retry: { maxAttempts: 2, backoff: () => 0 } })
    const mail = defineTask('mail', { queue: 'mails' })
    const outcomes = [
      () => undefined,
      () => undefined,
      () => fail(new Error('for good')),
      () => cancel('no longer wanted'),
      () => {
        throw new Error('always')
      },
      (tries: number) => (tries === 1 ? snooze(0) : undefined),
    ]
    const tries = new Map<number, number>()
    const running = await worker([
      work.handle((n) => {
        tries.set(n, (tries.get(n) ?? 0) + 1)
        return outcomes[n]!(tries.get(n)!)
      }),
      mail.handle(() => {}),
    ])
    await work.enqueueMany(pool, numbers(outcomes.length))
    await mail.enqueue(pool, null)
    await empty()
    await running.stop()
    expect(await counted()).toEqual([
      {
        ...{ queue: 'default', task: 'work', completed: 3, retried: 1, snoozed: 1 },
        ...{ exhausted: 1, failed: 1, cancelled: 1 },
      },
      { ...none, queue: 'mails', task: 'mail', completed: 1 },
    ])
  })

  test.each(MODES)('counts wait and run time of %s jobs', async (mode) => {
    const work = numbered('work', { mode })
    const running = await worker([work.handle(() => {})])
    await work.enqueueMany(pool, numbers(20))
    await empty()
    await running.stop()
    expect(await counted()).toMatchObject([{ completed: 20 }])
    const sum = (column: string) => value(`select sum(n)::integer from pgq.job_stats cross join unnest(${column}) as n`)
    expect([await sum('wait_counts'), await sum('run_counts')]).toEqual([20, 20])
  })

  test('adds up what earlier workers left', async () => {
    await pool.query(`insert into pgq.job_stats (begun_at, queue, task, completed)
      select date_trunc('minute', now(), 'UTC') - interval '1 hour', 'default', 'old', 1 from generate_series(1, 2500)`)
    const work = numbered()
    const running = await worker([work.handle(() => {})])
    await work.enqueue(pool, 1)
    await empty()
    await running.stop()
    expect(
      await rows(`select grain, sum(completed)::integer as completed from pgq.job_stats where task = 'old' group by 1`),
    ).toEqual([{ grain: 'minute', completed: 2500 }])
  })

  test('writes nothing when it is told so', async () => {
    const work = numbered()
    const running = await worker([work.handle(() => {})], { stats: false })
    await work.enqueue(pool, 1)
    await empty()
    await running.stop()
    expect(await counted()).toEqual([])
  })

  // Mutant: a failed write that disturbs the work, or that is told every time.
  test('works on when it may not write them', async () => {
    const warn = vi.fn()
    await pool.query(`
      create function refuse() returns trigger language plpgsql as $$ begin raise 'no statistics here'; end $$;
      create trigger refuse before insert on pgq.job_stats for each row execute function refuse()`)
    const work = numbered()
    const running = await worker([work.handle(() => {})], { logger: { ...silentLogger, warn } })
    const lost = all(running, 'database.lost')
    await work.enqueue(pool, 1)
    await empty()
    await running.stop()
    await pool.query('drop trigger refuse on pgq.job_stats; drop function refuse')
    expect(warn.mock.calls).toEqual([[expect.anything(), 'statistics could not be written']])
    expect(lost).toEqual([])
  })
})

describe('the clock', () => {
  afterEach(() => void vi.useRealTimers())

  // Mutants: a statement per job; a timer that goes on while nothing ends.
  test('one statement every five seconds while jobs end, none while none do', async () => {
    const statements: string[] = []
    const connection = new Connection({ connectionString: url }, async () => ({ keepsStatements: true }))
    const queryPrepared = connection.queryPrepared.bind(connection)
    connection.queryPrepared = async (name, sql, params) => {
      statements.push(name)
      return queryPrepared(name, sql, params)
    }
    await connection.query('select 1')
    const events = new Events(() => {})
    const stats = new Stats('pgq', connection, silentLogger, events)
    const runs = [{ end: 'completed', waitMs: 3, durationMs: 4 } as const]
    const settled = () => events.emit('jobs.settled', { mode: 'at-least-once', queue: 'default', task: 'work', runs })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    for (let n = 0; n < 1_000; n++) settled()
    expect(vi.getTimerCount()).toBe(1)
    vi.advanceTimersByTime(4_999)
    expect(statements).toEqual([])
    vi.advanceTimersByTime(1)
    await stats.stop()
    expect(statements).toEqual(['pgq.record_stats', 'pgq.compact_stats'])
    expect(vi.getTimerCount()).toBe(0)
    settled()
    await stats.stop()
    expect(statements.slice(2)).toEqual(['pgq.record_stats'])
    expect(vi.getTimerCount()).toBe(0)
    vi.useRealTimers()
    await connection.close()
    expect(await counted()).toMatchObject([{ completed: 1_001 }])
    expect(await rows('select from pgq.job_stats')).toHaveLength(2)
  })
})
