import { defineTask, typed } from '@pgq/core'
import { describe, expect, test } from 'vitest'
import { pgq, startPgq } from './pgq-process.js'
import { testQueue } from './test-queue.js'

const { env, pool } = await testQueue()
const run = (...args: string[]) => pgq(args, { env })
const lines = (text: string) => text.trim().split('\n')
const objects = (text: string) => lines(text).map((line) => JSON.parse(line))

const report = defineTask('report', { args: typed<{ day: number }>(), queue: 'reports' })
const nightly = () =>
  report.schedule(pool, { day: 1 }, { name: 'nightly', cron: '0 3 * * *', timeZone: 'Europe/Berlin' })
const hourly = () => report.schedule(pool, { day: 2 }, { name: 'hourly', everyMs: 3_600_000 })
const stored = async () => (await pool.query('select * from pgq.schedules order by name')).rows

describe('schedules', () => {
  test('are listed: when each comes, when it came, and what is wrong', async () => {
    expect((await run('schedules')).stdout).toBe('There are no schedules.\n')
    const next = (await nightly()).nextAt.toISOString().slice(0, 19).replace('T', ' ')
    await hourly()
    await pool.query(`
      update pgq.schedules set last_at = '2026-01-02T03:04:05Z', failed_at = now(), error = 'no such time', next_at = 'infinity'
      where name = 'hourly'`)
    await run('schedules', 'pause', 'nightly')
    const { stdout, code } = await run('schedules')
    expect(lines(stdout)[0]).toMatch(/^name +task +when +next slot +last job +state$/)
    expect(lines(stdout)[1]).toMatch(/^hourly +report +every 1h +none +2026-01-02 03:04:05Z +failed +no such time$/)
    expect(lines(stdout)[2]).toMatch(
      new RegExp(`^nightly +report +0 3 \\* \\* \\* Europe/Berlin +${next}Z +paused +since \\d{4}-[^ ]+ [^ ]+Z$`),
    )
    expect(code).toBe(0)
  })

  // Mutant: args among them.
  test('are a line of JSON for each look', async () => {
    const { nextAt } = await nightly()
    const watching = startPgq(['schedules', '--watch', '--json', '--every-ms', '100'], { env })
    await watching.printed(/"name":"nightly"/)
    await hourly()
    await watching.printed(/"name":"hourly"/)
    watching.signal('SIGINT')
    const { code, stdout } = await watching.ended
    expect(code).toBe(0)
    expect(objects(stdout)[0]).toEqual({
      schedules: [
        {
          ...{ name: 'nightly', task: 'report', queue: 'reports', priority: 0 },
          ...{ cron: '0 3 * * *', timeZone: 'Europe/Berlin', everyMs: null, catchUp: 'one' },
          ...{
            nextAt: nextAt.toISOString(),
            pausedAt: null,
            lastAt: null,
            lastJobId: null,
            failedAt: null,
            error: null,
          },
        },
      ],
    })
    expect(objects(stdout).at(-1).schedules).toHaveLength(2)
  })
})

describe('schedules that are named', () => {
  test('are paused and resumed', async () => {
    await nightly()
    await hourly()
    expect(await run('schedules', 'pause', 'nightly')).toEqual({ code: 0, stdout: 'nightly paused\n', stderr: '' })
    expect((await run('schedules', 'pause', 'nightly', 'hourly')).stdout).toBe(
      'nightly was paused already\nhourly paused\n',
    )
    expect(objects((await run('schedules', 'resume', 'nightly', '--json')).stdout)).toEqual([
      { schedule: 'nightly', changed: true },
    ])
    expect((await run('schedules', 'resume', 'nightly', 'hourly')).stdout).toBe(
      'nightly was not paused\nhourly resumed\n',
    )
    expect(await stored()).toMatchObject([{ paused_at: null }, { paused_at: null }])
  })

  test('have a job now', async () => {
    await nightly()
    const { stdout } = await run('schedules', 'run', 'nightly')
    const [job] = (await pool.query('select id, task, queue, args, meta from pgq.jobs')).rows
    expect(job).toMatchObject({ task: 'report', queue: 'reports', args: { day: 1 }, meta: { schedule: 'nightly' } })
    expect(stdout).toBe(`nightly enqueued as job ${job.id}\n`)
    expect(objects((await run('schedules', 'run', 'nightly', '--json')).stdout)).toEqual([
      { schedule: 'nightly', jobId: String(Number(job.id) + 1) },
    ])
  })

  test('are removed', async () => {
    await nightly()
    await hourly()
    expect((await run('schedules', 'remove', 'hourly')).stdout).toBe('hourly removed\n')
    expect(await stored()).toMatchObject([{ name: 'nightly' }])
  })

  // Mutants: one that is not there as one that was paused already; 0 when nothing was done.
  test.each([
    ['pause', { changed: false }],
    ['resume', { changed: false }],
    ['run', { jobId: null }],
    ['remove', { changed: false }],
  ])('%s says which of them there are not, and fails where there is none', async (action, outcome) => {
    await nightly()
    expect(await run('schedules', action, 'typo', 'nightly')).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^nightly [^\n]+\n$/),
      stderr: 'There is no schedule "typo".\n',
    })
    const { code, stdout, stderr } = await run('schedules', action, 'typo', '--json')
    expect({ code, stderr }).toEqual({ code: 1, stderr: 'There is no schedule "typo".\n' })
    expect(objects(stdout)).toEqual([{ schedule: 'typo', ...outcome, missing: true }])
  })

  // Mutant: told as a mistake of the command line, where nothing was done.
  test('one that cannot go on is said, with what was done before', async () => {
    await nightly()
    await hourly()
    await pool.query(`update pgq.schedules set paused_at = now(), cron = replace(cron, '0 3', 'at three')`)
    expect(await run('schedules', 'resume', 'hourly', 'nightly')).toMatchObject({
      code: 1,
      stdout: 'hourly resumed\n',
      stderr: expect.stringMatching(/^pgq: nightly: cron "at three \* \* \*" is not allowed\./),
    })
  })

  // Mutant: names are checked one by one, when something was done to those before.
  test.each(['pause', 'resume', 'run', 'remove'])('%s checks all names first', async (action) => {
    await nightly()
    const before = await stored()
    expect(await run('schedules', action, 'nightly', '')).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/^pgq: The schedule name ""/),
    })
    expect(await stored()).toEqual(before)
    expect((await pool.query('select from pgq.jobs')).rowCount).toBe(0)
  })
})
