import { expect, test } from 'vitest'
import {
  defineTask,
  enqueue,
  fireSchedules,
  pauseSchedule,
  promoteDueJobs,
  removeSchedule,
  resumeSchedule,
  runSchedule,
  typed,
} from '../src/index.js'
import { inTransaction, queueDatabase } from './queue-database.js'

const { pool, rows, connect } = await queueDatabase()
const report = defineTask('report', { args: typed<{ day: number }>(), queue: 'reports', priority: 5 })

const jobs = () =>
  rows('select task, queue, priority, args, retry, meta, execute_at is null as ready from pgq.jobs order by position')
const schedule = async (name = 'report') => (await rows('select * from pgq.schedules where name = $1', [name]))[0]
const makeDue = (ago = '0 s') => pool.query('update pgq.schedules set next_at = now() - $1::interval', [ago])

test('a schedule is written with what its jobs will be', async () => {
  const before = Date.now()
  const result = await report.schedule(
    pool,
    { day: 1 },
    { name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin', retry: { maxAttempts: 3 } },
  )
  expect(result).toEqual({ status: 'created', name: 'nightly', nextAt: expect.any(Date) })
  expect(result.nextAt.getTime()).toBeGreaterThan(before)
  expect(await schedule('nightly')).toMatchObject({
    task: 'report',
    args: { day: 1 },
    queue: 'reports',
    priority: 5,
    retry: { maxAttempts: 3 },
    cron: '0 3 * * *',
    time_zone: 'Europe/Berlin',
    every_ms: null,
    catch_up: 'one',
    next_at: result.nextAt,
    paused_at: null,
  })
  expect(await jobs()).toEqual([])
})

test('as a part of the transaction', async () => {
  await inTransaction(pool, 'rollback', (client) => report.schedule(client, { day: 1 }, { everyMs: 1_000 }))
  expect(await schedule()).toBeUndefined()
})

// Mutant: each start of a program that schedules begins the interval anew, so that a slot never comes.
test('the same again changes nothing; another timing has another slot; other args leave it', async () => {
  const options = { everyMs: 60_000 }
  const { nextAt } = await report.schedule(pool, { day: 1 }, options)
  await pool.query(`update pgq.schedules set next_at = next_at - interval '10 s'`)
  const kept = new Date(nextAt.getTime() - 10_000)
  expect(await report.schedule(pool, { day: 1 }, options)).toEqual({
    status: 'unchanged',
    name: 'report',
    nextAt: kept,
  })
  const changed = await report.schedule(pool, { day: 2 }, { ...options, priority: 7, catchUp: 'all' })
  expect(changed).toEqual({ status: 'changed', name: 'report', nextAt: kept })
  expect(await schedule()).toMatchObject({ args: { day: 2 }, priority: 7, catch_up: 'all' })
  const retimed = await report.schedule(pool, { day: 2 }, { cron: '0 3 * * *' })
  expect(retimed.status).toBe('changed')
  expect(retimed.nextAt.getUTCHours()).toBe(3)
  expect((await report.schedule(pool, { day: 2 }, { cron: '0 3 * * *', timeZone: 'Asia/Tokyo' })).status).toBe(
    'changed',
  )
})

// Mutant: not looked for again: programs that start at the same time, and schedule the same, fail.
test('the same, written by somebody else at the same moment, changes nothing', async () => {
  const options = { everyMs: 60_000 }
  const other = await connect()
  await other.query('begin')
  const first = await report.schedule(other, { day: 1 }, options)
  const second = report.schedule(pool, { day: 1 }, options)
  const waiting = `select exists (
    select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock') as waits`
  await expect.poll(async () => (await rows(waiting))[0].waits).toBe(true)
  await other.query('commit')
  expect(await second).toEqual({ status: 'unchanged', name: 'report', nextAt: first.nextAt })
})

test.each([
  [{}, 'schedule of task "report": give cron or everyMs, one of them.'],
  [{ cron: '* * * * *', everyMs: 1_000 }, 'give cron or everyMs, one of them.'],
  [{ cron: 'often' }, 'cron "often" is not allowed.'],
  [{ cron: '* * * * *', timeZone: 'Mars' }, 'timeZone "Mars" is unknown.'],
  [{ cron: '0 0 30 2 *' }, 'schedule "report": its cron expression has no time in the future.'],
  [{ everyMs: 1_000, timeZone: 'UTC' }, 'timeZone is for cron; everyMs needs none.'],
  [{ everyMs: 999 }, 'everyMs is 999; use whole milliseconds from 1000 to'],
  [{ everyMs: '5000' }, 'everyMs is "5000"; use whole milliseconds'],
  [{ everyMs: 1_000, catchUp: 'never' }, `catchUp is "never"; use 'skip', 'one' or 'all'.`],
  [{ everyMs: 1_000, name: '' }, 'The schedule name "" is not allowed'],
  [{ everyMs: 1_000, priority: 99_999 }, 'priority is 99999'],
  [{ everyMs: 1_000, delayMs: 5 }, 'schedule of task "report": unknown option delayMs'],
  [{ crom: '* * * * *' }, 'unknown option crom; did you mean cron?'],
  [undefined, 'schedule of task "report": the options are undefined'],
])('refused: %j', async (options, message) => {
  await expect(report.schedule(pool, { day: 1 }, options as never)).rejects.toThrow(message)
  expect(await rows('select from pgq.schedules')).toEqual([])
})

test('args are checked as those of a job', async () => {
  await expect(report.schedule(pool, { day: new Date() as never }, { everyMs: 1_000 })).rejects.toMatchObject({
    code: 'PGQ_NOT_SERIALISABLE',
  })
})

test('a due slot has its job, which knows where it comes from, and the schedule goes on', async () => {
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000, retry: { maxAttempts: 2 } })
  expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 0, failed: [] })
  await makeDue()
  const { next_at: due } = await schedule()
  expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 1, failed: [] })
  const [job] = await jobs()
  expect(job).toEqual({
    task: 'report',
    queue: 'reports',
    priority: 5,
    args: { day: 1 },
    retry: { maxAttempts: 2 },
    meta: { schedule: 'report', slot: due.toISOString() },
    ready: true,
  })
  const [{ id }] = await rows('select id from pgq.jobs')
  const moved = await schedule()
  expect(moved).toMatchObject({ last_job_id: id, last_at: expect.any(Date) })
  expect(moved.next_at.getTime() - due.getTime()).toBe(60_000)
  expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 0, failed: [] })
})

// Mutant: without "next_at = $seen" in fire_schedule; the slot has a job from each worker.
test('many workers at once: a slot has one job', async () => {
  for (let n = 0; n < 20; n++) await report.schedule(pool, { day: n }, { name: `n${n}`, everyMs: 3_600_000 })
  await makeDue()
  const clients = await Promise.all(Array.from({ length: 6 }, connect))
  const fired = await Promise.all(clients.map((client) => fireSchedules(client, 'pgq')))
  expect(fired.reduce((sum, one) => sum + one.jobs, 0)).toBe(20)
  const days = (await jobs()).map(({ args }) => args.day)
  expect(days.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, n) => n))
})

test('what was seen to while another worker looked is passed over', async () => {
  await report.schedule(pool, { day: 1 }, { everyMs: 3_600_000 })
  await makeDue()
  const holder = await connect()
  await holder.query('begin')
  expect((await fireSchedules(holder, 'pgq')).jobs).toBe(1)
  // It does not wait for the other's commit.
  expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 0, failed: [] })
  await holder.query('rollback')
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(1)
  expect(await jobs()).toHaveLength(1)
})

test('after a time without workers: skip, one, all', async () => {
  for (const catchUp of ['skip', 'one', 'all'] as const) {
    await report.schedule(pool, { day: 1 }, { name: catchUp, everyMs: 600_000, catchUp })
  }
  await makeDue('65 min')
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(8)
  const made = (await jobs()).map(({ meta }) => meta.schedule)
  expect(made.filter((name) => name === 'one')).toHaveLength(1)
  expect(made.filter((name) => name === 'all')).toHaveLength(7)
  const slots = (await jobs()).filter(({ meta }) => meta.schedule === 'all').map(({ meta }) => Date.parse(meta.slot))
  expect(slots).toEqual(Array.from(slots, (_, n) => slots[0]! + n * 600_000))
  expect(await schedule('skip')).toMatchObject({ last_at: null, last_job_id: null })
  const [{ least }] = await rows('select min(next_at) > now() as least from pgq.schedules')
  expect(least).toBe(true)
})

test('paused, no slot has a job; resumed, those of the pause have none either', async () => {
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000, catchUp: 'all' })
  expect(await pauseSchedule(pool, 'report')).toBe(true)
  expect(await pauseSchedule(pool, 'report')).toBe(false)
  await makeDue('1 h')
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(0)
  // Whoever deploys does not undo it.
  expect((await report.schedule(pool, { day: 2 }, { everyMs: 60_000 })).status).toBe('changed')
  expect((await schedule()).paused_at).toBeInstanceOf(Date)
  expect(await resumeSchedule(pool, 'report')).toBe(true)
  expect(await resumeSchedule(pool, 'report')).toBe(false)
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(0)
  const [{ ms }] = await rows(`select extract(epoch from next_at - now()) * 1000 as ms from pgq.schedules`)
  expect(Number(ms)).toBeGreaterThan(50_000)
})

test('its jobs may share a concurrency key, and change with it', async () => {
  const put = (max?: number) =>
    report.schedule(pool, { day: 1 }, { everyMs: 60_000, ...(max && { concurrency: { key: 'report', max } }) })
  await put(1)
  expect((await put(1)).status).toBe('unchanged')
  expect((await put(2)).status).toBe('changed')
  await runSchedule(pool, 'report')
  await makeDue()
  await fireSchedules(pool, 'pgq')
  const meta = { concurrencyKey: 'report', concurrencyMax: '2', schedule: 'report', slot: expect.any(String) }
  expect(await rows('select meta from pgq.jobs')).toEqual([{ meta }, { meta }])
  expect((await put()).status).toBe('changed')
  const once = defineTask('once', { args: typed<object>(), mode: 'at-most-once' })
  await expect(once.schedule(pool, {}, { everyMs: 60_000, concurrency: { key: 'a' } as never })).rejects.toThrow(
    'nobody could count it: it cannot have concurrency',
  )
})

test('run now: a job beside the slots', async () => {
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000 })
  const before = await schedule()
  await pauseSchedule(pool, 'report')
  const id = await runSchedule(pool, 'report')
  expect(await rows('select id, meta from pgq.jobs')).toEqual([
    { id, meta: { schedule: 'report', slot: expect.any(String) } },
  ])
  expect((await schedule()).next_at).toEqual(before.next_at)
  expect(await runSchedule(pool, 'nobody')).toBeNull()
})

test('removed, its jobs stay', async () => {
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000 })
  await runSchedule(pool, 'report')
  expect(await removeSchedule(pool, 'report')).toBe(true)
  expect(await removeSchedule(pool, 'report')).toBe(false)
  expect(await jobs()).toHaveLength(1)
  for (const act of [removeSchedule, pauseSchedule, resumeSchedule, runSchedule]) {
    await expect(act(pool, undefined as never)).rejects.toThrow('The schedule name undefined is not allowed')
    // In the default schema it would hit another one's.
    await expect(act(pool, 'report', { schemma: 'other' } as object)).rejects.toThrow('unknown option schemma')
  }
})

// Mutant: the first failure ends the round; the schedules behind it wait for the one that is wrong.
test('one that cannot have its job holds nobody up, says why, and is tried again after a minute', async () => {
  await report.schedule(pool, { day: 1 }, { name: 'wrong', everyMs: 60_000 })
  await report.schedule(pool, { day: 2 }, { name: 'refused', everyMs: 60_000, queue: 'forbidden' })
  await report.schedule(pool, { day: 3 }, { name: 'well', everyMs: 60_000 })
  await pool.query(`update pgq.schedules set every_ms = null, cron = 'never' where name = 'wrong'`)
  await pool.query(`alter table pgq.jobs add constraint allowed check (queue <> 'forbidden')`)
  try {
    await makeDue()
    const { jobs: made, failed } = await fireSchedules(pool, 'pgq')
    expect(made).toBe(1)
    expect(failed.map((one) => one.schedule).toSorted()).toEqual(['refused', 'wrong'])
    expect(await schedule('wrong')).toMatchObject({ error: expect.stringContaining('cron "never" is not allowed') })
    expect(await schedule('refused')).toMatchObject({ error: expect.stringContaining('allowed') })
    // Not at once again.
    expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 0, failed: [] })
    const { nextSlotMs } = await promoteDueJobs(pool, 'pgq', { queues: ['reports'], limit: 10 })
    expect(nextSlotMs).toBeGreaterThan(50_000)
  } finally {
    await pool.query('alter table pgq.jobs drop constraint allowed')
  }
  await pool.query(
    `update pgq.schedules set failed_at = failed_at - interval '1 minute', cron = '0 0 1 1 *' where name = 'wrong'`,
  )
  await pool.query(`update pgq.schedules set failed_at = failed_at - interval '1 minute' where name = 'refused'`)
  expect(await fireSchedules(pool, 'pgq')).toEqual({ jobs: 2, failed: [] })
  expect(await schedule('refused')).toMatchObject({ error: null, failed_at: null })
})

// Mutant: an error like any other that another try may find gone: none of the others has a job any more.
test('one whose jobs take longer than a statement may holds nobody up either', async () => {
  await report.schedule(pool, { day: 1 }, { name: 'slow', everyMs: 60_000, queue: 'slow' })
  await report.schedule(pool, { day: 2 }, { name: 'well', everyMs: 60_000 })
  await makeDue()
  await pool.query(`
    create function pgq.dawdle() returns trigger language plpgsql as 'begin perform pg_sleep(60); return new; end';
    create trigger dawdle before insert on pgq.jobs for each row when (new.queue = 'slow') execute function pgq.dawdle()`)
  const client = await connect()
  try {
    await client.query(`set statement_timeout = '500ms'`)
    const { jobs: made, failed } = await fireSchedules(client, 'pgq')
    expect({ made, failed: failed.map((one) => one.schedule) }).toEqual({ made: 1, failed: ['slow'] })
    expect(await schedule('slow')).toMatchObject({ error: expect.stringContaining('statement timeout') })
  } finally {
    await pool.query('drop function pgq.dawdle cascade')
  }
})

test('workers learn when the next slot is while they look for due jobs', async () => {
  const look = async () => (await promoteDueJobs(pool, 'pgq', { queues: ['default'], limit: 10 })).nextSlotMs
  expect(await look()).toBeNull()
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000 })
  await report.schedule(pool, { day: 1 }, { name: 'rare', everyMs: 3_600_000 })
  expect(await look()).toBeGreaterThan(50_000)
  await makeDue('1 s')
  expect(await look()).toBeLessThanOrEqual(-1_000)
  await pool.query(`update pgq.schedules set next_at = 'infinity'`)
  expect(await look()).toBeNull()
})

test('a schedule whose last slot has come waits for none', async () => {
  await report.schedule(pool, { day: 1 }, { cron: '0 0 1 1 *' })
  await pool.query(`update pgq.schedules set cron = '0 0 30 2 *'`)
  await makeDue()
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(1)
  const [{ infinite }] = await rows(`select next_at = 'infinity' as infinite from pgq.schedules`)
  expect(infinite).toBe(true)
  expect((await fireSchedules(pool, 'pgq')).jobs).toBe(0)
})

test('in any schema, and with jobs of others beside it', async () => {
  await enqueue(pool, 'other')
  await report.schedule(pool, { day: 1 }, { everyMs: 60_000 })
  await makeDue()
  await fireSchedules(pool, 'pgq')
  expect((await jobs()).map(({ task }) => task)).toEqual(['other', 'report'])
  await expect(pauseSchedule(pool, 'report', { schema: 'elsewhere' })).rejects.toMatchObject({
    code: 'PGQ_NOT_MIGRATED',
  })
})
