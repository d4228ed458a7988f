import { stripVTControlCharacters } from 'node:util'
import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { pgq, startPgq } from './pgq-process.js'
import { bury, enqueue, holdJob, QUEUE, testQueue } from './test-queue.js'

const { env, pool, url } = await testQueue()
const run = (...args: string[]) => pgq(args, { env })
const onLinux = process.platform === 'linux'
/** As a claim parks jobs whose key is taken. */
const park = (jobs: readonly { id: string | null }[]) =>
  pool.query(`update pgq.jobs set execute_at = 'infinity' where id = any ($1)`, [jobs.map(({ id }) => id)])

test('status counts each queue, also those where only dead letters are', async () => {
  const client = await worker()
  await enqueue(pool, 3)
  await holdJob(client)
  await enqueue(pool, 2, { queue: 'slow', delayMs: 60_000 })
  await park(await enqueue(pool, 1, { queue: 'slow' }))
  await bury(pool, 4)
  await pool.query(`update pgq.dead_jobs set queue = 'gone'`)
  const { stdout, code } = await run('status')
  expect(stdout).toMatch(/^queue +ready +scheduled +parked +running +dead +oldest +workers *$/m)
  expect(stdout).toMatch(/^mail +2 +0 +0 +1 +0 +\S+ +1$/m)
  expect(stdout).toMatch(/^slow +0 +2 +1 +0 +0 +0 +no worker$/m)
  expect(stdout).toMatch(/^gone +0 +0 +0 +0 +4 +0$/m)
  expect(stdout).toContain('1 worker. In the last hour: 0 completed')
  expect(code).toBe(0)
  const { queues, workers } = JSON.parse((await run('status', '--json')).stdout)
  expect(workers).toBe(1)
  expect(queues[1]).toMatchObject({ queue: QUEUE, ready: 2, running: 1, exact: true })
})

describe('jobs', () => {
  test('lists every state, running ones first, and no args', async () => {
    await enqueue(pool, 2)
    const held = await holdJob(await worker())
    await enqueue(pool, 1, { delayMs: 60_000 })
    await bury(pool, 1)
    const { stdout } = await run('jobs')
    const rows = stdout.trim().split('\n').slice(1)
    expect(rows.map((row) => row.trim().split(/ +/)[1])).toEqual(['running', 'ready', 'scheduled', 'dead'])
    expect(rows[0]).toMatch(new RegExp(`^ *${held} +running +${QUEUE} +send .* on here 7$`))
    expect(rows[3]).toContain('failed: Error: no such address')
    expect(stdout).not.toContain('number')
    expect(JSON.parse((await run('jobs', '--json')).stdout).jobs[1]).not.toHaveProperty('args')
  })

  test('of one state come page by page', async () => {
    await enqueue(pool, 3)
    const first = await run('jobs', '--state', 'ready', '--limit', '2', '--json', '--args')
    const { jobs, next } = JSON.parse(first.stdout)
    expect(jobs.map(({ args }: { args: unknown }) => args)).toEqual([{ number: 1 }, { number: 2 }])
    const second = await run('jobs', '--state', 'ready', '--limit', '2', '--json', '--after', next)
    expect(JSON.parse(second.stdout).jobs).toMatchObject([{ id: '3' }])
    expect(JSON.parse(second.stdout)).not.toHaveProperty('next')
    expect((await run('jobs', '--queue', 'other')).stdout).toContain('No such job')
  })

  // Mutant: one page of each list: it looks at the first 25,000 of a queue.
  test('are found in a long queue', async () => {
    await enqueue(pool, 1)
    await pool.query(`
      insert into pgq.jobs (queue, task) select 'mail', case n when 50500 then 'rare' else 'common' end from generate_series(1, 51000) as n;
      insert into pgq.jobs (queue, task, execute_at)
      select 'mail', case n when 25500 then 'rare' else 'common' end, now() + n * interval '1 s' from generate_series(1, 26000) as n`)
    const states = async (...args: string[]) =>
      JSON.parse((await run('jobs', '--task', 'rare', '--json', ...args)).stdout).jobs.map(
        ({ state }: { state: string }) => state,
      )
    expect(await states()).toEqual(['ready', 'scheduled'])
    expect(await states('--state', 'ready')).toEqual(['ready'])
    expect((await run('jobs', '--task', 'none', '--state', 'ready')).stdout).toContain('No such job')
  })

  // Mutant: args shown by default.
  test('one is shown whole, its args only when asked for', async () => {
    await bury(pool, 1)
    const hidden = await run('jobs', '1')
    expect(hidden.stdout).toMatch(/^state +dead since .*: failed$/m)
    expect(hidden.stdout).toMatch(/^args +hidden; --args shows them$/m)
    expect(hidden.stdout).toContain('attempt 8, 2026-01-02T03:04:05.678Z\nError: no such address')
    expect((await run('jobs', '1', '--args')).stdout).toContain('"number": 1')
    expect(JSON.parse((await run('jobs', '1', '--json')).stdout)).not.toHaveProperty('args')
  })

  // Mutants: a key that is passed over; one of another task.
  test('the one of a key is found, and says what it came of', async () => {
    await enqueue(pool, 1)
    await enqueue(pool, 1, { unique: { key: 'order 7' }, delayMs: 60_000 })
    const { jobs } = JSON.parse((await run('jobs', '--task', 'send', '--key', 'order 7', '--json')).stdout)
    expect(jobs).toMatchObject([{ id: '2', state: 'scheduled' }])
    expect((await run('jobs', '--task', 'other', '--key', 'order 7')).stdout).toContain('No such job')
    expect(await run('jobs', '--key', 'order 7')).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('A key is one of a task: give task beside key.'),
    })
    expect((await run('jobs', '1')).stdout).not.toMatch(/^(key|schedule|slot)/m)
    expect((await run('jobs', '2')).stdout).toMatch(/^key +order 7$/m)
    const meta = { schedule: 'nightly', slot: '2026-01-02T03:00:00.000Z', key: 7 }
    await pool.query('update pgq.jobs set meta = $1 where id = 2', [meta])
    expect((await run('jobs', '2')).stdout).toMatch(
      /^key +7\nschedule +nightly\nslot +2026-01-02T03:00:00.000Z\nargs +hidden/m,
    )
    expect(JSON.parse((await run('jobs', '2', '--json')).stdout)).toMatchObject({ meta })
  })

  // Mutant: a time at the end of all times.
  test('one that is parked says what it waits for', async () => {
    await park(await enqueue(pool, 1, { concurrency: { key: 'account 7' } }))
    await park(await enqueue(pool, 1, { concurrency: { key: 'partner', max: 5 } }))
    expect((await run('jobs')).stdout).toMatch(/^ *1 +parked +mail +send +0 +0 +20\d\d-\S+ +\S+ +waits for account 7$/m)
    expect((await run('jobs', '--state', 'parked')).stdout).toMatch(/waits for account 7\n.* waits for partner$/m)
    expect((await run('jobs', '1')).stdout).toMatch(
      /^state +parked since 20\d\d-.*: waits for others of its concurrency key$/m,
    )
    expect((await run('jobs', '1')).stdout).toMatch(/^concurrency +account 7\nargs/m)
    expect((await run('jobs', '2')).stdout).toMatch(/^concurrency +partner\nmax +5\nargs/m)
    expect((await run('retry', '1', '--yes')).stdout).toMatch(/^0 jobs/)
    expect((await run('cancel', '--queue', QUEUE, '--state', 'parked', '--yes')).stdout).toMatch(/^2 jobs/)
  })

  test('one that is not there fails', async () => {
    expect(await run('jobs', '99')).toMatchObject({ code: 1, stdout: expect.stringContaining('Job 99 is not there') })
    expect(await run('jobs', 'x')).toMatchObject({ code: 2, stderr: expect.stringContaining('is no job id') })
  })
})

describe('doctor', () => {
  test('is content with an empty queue', async () => {
    expect(await run('doctor')).toMatchObject({ code: 0, stdout: expect.stringContaining('Nothing is wrong.') })
  })

  test('says what is wrong, and what to do, and fails', async () => {
    await enqueue(pool, 1)
    await pool.query(`update pgq.jobs set ready_at = now() - interval '3 minutes'`)
    const { code, stdout } = await run('doctor')
    expect(stdout).toMatch(/ready for up to 3 min\.[\s\S]* oldestReady 3m/)
    expect(stdout).toMatch(
      /critical queue-unserved: No living worker serves mail.*\n.*\n {2}What to do: Start a worker/,
    )
    expect(code).toBe(1)
    expect(JSON.parse((await run('doctor', '--json')).stdout)).toMatchObject({ status: 'critical' })
  })
})

// What a terminal obeys: colours, titles, the clipboard, answers typed back; C1 controls; text that runs backwards; a line of its own.
const HOSTILE = 'a\u001b]0;owned\u0007\u001b[31mb\u009b2J\u202ec\r\nd\u2028e\u007f'
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not come out
const OBEYED = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u2028\u2029]/

// Mutant: any of these places without plain().
test('what jobs are called and died of cannot steer a terminal', async () => {
  await enqueue(pool, 1, { queue: HOSTILE })
  await pool.query('update pgq.jobs set task = $1, args = $2, meta = $3', [
    HOSTILE,
    JSON.stringify({ [HOSTILE]: HOSTILE }),
    JSON.stringify({ key: HOSTILE, schedule: HOSTILE, slot: { [HOSTILE]: HOSTILE } }),
  ])
  await bury(pool, 1, { name: HOSTILE, message: HOSTILE })
  await pool.query('update pgq.dead_jobs set task = $1, queue = $1', [HOSTILE])
  await pool.query(
    `insert into pgq.schedules (name, task, queue, cron, next_at, error)
     values ($1, $1, $1, $1, now(), $1), ($2, $1, $1, $1, now(), null)`,
    [HOSTILE, `no${HOSTILE}`],
  )
  const commands = [
    ['schedules'],
    ['schedules', '--json'],
    ['schedules', 'run', HOSTILE, HOSTILE + HOSTILE],
    ['schedules', 'resume', `no${HOSTILE}`],
    ['status'],
    ['jobs', '--args'],
    ['jobs', '1', '--args'],
    ['jobs', '2', '--args'],
    ['jobs', '1', '--json'],
    ['doctor'],
    ['status', '--json'],
    ['pause', HOSTILE, `no${HOSTILE}`],
    ['jobs', HOSTILE],
    ['jobs', '--args', '--json'],
  ]
  const printed = await Promise.all(commands.map((command) => run(...command)))
  for (const [index, { stdout, stderr }] of printed.entries()) {
    expect(stdout + stderr, commands[index]!.join(' ')).not.toMatch(OBEYED)
    // A line of its own could say anything.
    expect(stdout + stderr, commands[index]!.join(' ')).not.toMatch(/^d/m)
  }
  expect(JSON.parse(printed.at(-1)!.stdout).jobs[0]).toMatchObject({ task: HOSTILE, queue: HOSTILE })
})

describe('--watch', () => {
  test('prints a line of JSON for each look, until Ctrl-C', async () => {
    await enqueue(pool, 1)
    const watching = startPgq(['status', '--watch', '--json', '--every-ms', '100'], { env })
    await watching.printed(/"ready":1/)
    await enqueue(pool, 1)
    await watching.printed(/"ready":2/)
    watching.signal('SIGINT')
    const { code, stdout } = await watching.ended
    expect(code).toBe(0)
    for (const line of stdout.trim().split('\n')) expect(JSON.parse(line).queues).toHaveLength(1)
  })

  // Mutant: a look that fails ends the watch, in the very incident.
  test('goes on when the database does not answer, and says so', async () => {
    const watching = startPgq(['doctor', '--watch', '--every-ms', '100'], { env })
    await watching.printed(/Nothing is wrong/)
    await pool.query('alter schema pgq rename to hidden')
    await watching.printed(/Run: pgq migrate/)
    await pool.query('alter schema hidden rename to pgq')
    await watching.printed(/Run: pgq migrate.*\n\nNothing is wrong\.\n\nNothing is wrong\./s)
    watching.signal('SIGTERM')
    expect((await watching.ended).code).toBe(0)
  })

  test.runIf(onLinux)('paints a terminal over, and leaves the last look behind', async () => {
    await enqueue(pool, 1)
    const watching = startPgq(['status', '--watch', '--every-ms', '100'], { env, terminal: { columns: 80 }, input: '' })
    await watching.printed(/mail +1 .*mail +1 /s)
    watching.child.stdin!.write('\x03')
    const { code, stdout } = await watching.ended
    expect(code).toBe(0)
    expect(stdout.startsWith('\x1b[?1049h\x1b[?25l')).toBe(true)
    expect(stdout.split('\x1b[?25h\x1b[?1049l')[1]).toMatch(/mail +1 /)
  })
})

// Mutant: lines as they are written: the terminal wraps those that are longer than it is wide, and scrolls.
test.runIf(onLinux)('--watch paints no more than a narrow terminal shows', async () => {
  for (const queue of ['a', 'b', 'c']) await enqueue(pool, 1, { queue })
  await pool.query(
    `update pgq.jobs set ready_at = now() - interval '3 minutes'; update pgq.workers set beat_at = now()`,
  )
  const columns = 20
  const watching = startPgq(['doctor', '--watch', '--every-ms', '100'], { env, terminal: { columns }, input: '' })
  await watching.printed(/\[J/)
  watching.child.stdin!.write('\x03')
  const { stdout } = await watching.ended
  const [painted] = stdout.slice(stdout.indexOf('\x1b[H')).split('\x1b[J') as [string]
  const lines = stripVTControlCharacters(painted).split('\r\n').slice(0, -1)
  const rows = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / columns)), 0)
  expect(rows).toBeGreaterThan(20)
  expect(rows).toBeLessThan(40)
})

describe.runIf(onLinux)('on a terminal', () => {
  test('tables fit its width, and have colours', async () => {
    await enqueue(pool, 1, { queue: 'q'.repeat(90) })
    const { stdout } = await pgq(['status'], { env, terminal: { columns: 80 }, input: '' })
    expect(stdout).toContain('\x1b[31mno worker')
    const visible = stripVTControlCharacters(stdout).split('\r\n')
    expect(visible.find((line) => line.startsWith('qq'))).toMatch(/^q+… +1 .*no worker$/)
    for (const line of visible.slice(0, 2)) expect(line.length).toBeLessThanOrEqual(80)
  })

  test('has none with NO_COLOR, nor has a pipe', async () => {
    await enqueue(pool, 1)
    const uncoloured = await pgq(['status'], { env: { ...env, NO_COLOR: '1' }, terminal: { columns: 80 }, input: '' })
    expect(uncoloured.stdout).toContain('no worker')
    expect(uncoloured.stdout).not.toContain('\x1b[3')
    expect((await run('status')).stdout).not.toContain('\x1b')
  })
})

test('a reader that leaves early is no error', async () => {
  await enqueue(pool, 2_000)
  const reading = startPgq(['jobs', '--limit', '2000'], { env })
  reading.child.stdout!.destroy()
  expect(await reading.ended).toMatchObject({ code: 141, stderr: '' })
})

async function worker(): Promise<pg.Client> {
  const client = new pg.Client(url)
  await client.connect()
  onTestFinished(() => client.end())
  return client
}
