import pg from 'pg'
import { describe, expect, onTestFinished, test } from 'vitest'
import { pgq, startPgq } from './pgq-process.js'
import { bury, enqueue, holdJob, QUEUE, testQueue } from './test-queue.js'

const { env, pool, url } = await testQueue()
const run = (...args: string[]) => pgq(args, { env })
const onLinux = process.platform === 'linux'

const count = async (table: string, where = 'true') =>
  Number((await pool.query(`select count(*) from pgq.${table} where ${where}`)).rows[0].count)

test('retry makes scheduled jobs ready, cancel buries them, redrive brings them back', async () => {
  await enqueue(pool, 3, { delayMs: 60_000 })
  await enqueue(pool, 1)
  expect(await run('retry', '--task', 'send', '--yes')).toMatchObject({ code: 0, stdout: '3 jobs made ready.\n' })
  expect(await count('jobs', 'execute_at is null')).toBe(4)
  expect((await run('cancel', '1', '2')).stdout).toBe('2 jobs cancelled, or asked to end.\n')
  expect(await count('dead_jobs', `reason = 'cancelled'`)).toBe(2)
  const redriven = await run('redrive', '--reason', 'cancelled', '--yes', '--json')
  expect(JSON.parse(redriven.stdout)).toEqual({ jobs: 2, matched: 2 })
  expect(await count('jobs')).toBe(4)
})

// Mutants: a condition that is passed over; the dry run that does it.
test('conditions are heeded, and a dry run changes nothing', async () => {
  await bury(pool, 2)
  await bury(pool, 1, { name: 'TypeError', message: 'x is undefined' })
  expect((await run('redrive', '--error', 'typeerror', '--dry-run')).stdout).toBe('1 job would be redriven.\n')
  expect(await count('dead_jobs')).toBe(3)
  expect((await run('redrive', '--error', 'typeerror', '--yes')).stdout).toBe('1 job redriven.\n')
  expect(await count('dead_jobs')).toBe(2)
  expect((await run('redrive', '--queue', 'other', '--yes')).stdout).toBe('0 jobs redriven.\n')
  await enqueue(pool, 2, { delayMs: 60_000 })
  expect((await run('cancel', '--queue', QUEUE, '--state', 'scheduled', '-n')).stdout).toMatch(/^2 jobs would be/)
})

// Mutant: a key that is passed over: all jobs of the task are hit.
test('retry, cancel and redrive take the job of a key', async () => {
  await enqueue(pool, 2, { delayMs: 60_000 })
  await enqueue(pool, 1, { delayMs: 60_000, unique: { key: 'order 7' } })
  const ofKey = ['--task', 'send', '--key', 'order 7', '--yes']
  expect((await run('retry', ...ofKey)).stdout).toBe('1 job made ready.\n')
  expect((await run('cancel', ...ofKey)).stdout).toBe('1 job cancelled, or asked to end.\n')
  expect((await run('redrive', ...ofKey)).stdout).toBe('1 job redriven.\n')
  expect(await count('jobs', `execute_at is null and meta ->> 'key' = 'order 7'`)).toBe(1)
  expect(await run('cancel', '--key', 'order 7')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('A key is one of a task: give task beside key.'),
  })
})

// Mutants: a dead letter that one is sent to look for; those that this has cancelled told as such; 0 when nothing was done.
test('an id that does not fit is said, and where none does, the command fails', async () => {
  await bury(pool, 2)
  await enqueue(pool, 1, { delayMs: 60_000 })
  expect(await run('retry', '1')).toEqual({
    code: 1,
    stdout: '0 jobs made ready.\n',
    stderr: '1 is a dead letter: pgq redrive <id>.\n',
  })
  expect(await run('cancel', '1', '2', '3', '3')).toEqual({
    code: 0,
    stdout: '1 job cancelled, or asked to end.\n',
    stderr: '2 are dead letters: pgq redrive <id>.\n',
  })
  const gone = '1 id does not fit: pgq jobs <id> says where that job is.\n'
  expect(await run('redrive', '1', '99')).toEqual({ code: 0, stdout: '1 job redriven.\n', stderr: gone })
  expect(await run('redrive', '99', '--json')).toEqual({ code: 1, stdout: '{"jobs":0,"matched":0}\n', stderr: gone })
})

// Mutant: an id that cannot be counted is not cancelled. A running at-most-once job is in no table.
test('cancel asks a running job to end, also one that no table has', async () => {
  await enqueue(pool, 1)
  const client = new pg.Client(url)
  await client.connect()
  onTestFinished(() => client.end())
  const held = await holdJob(client)
  expect((await run('cancel', held)).stdout).toBe('1 job cancelled, or asked to end.\n')
  expect((await run('cancel', '4711')).stderr).toMatch(/^1 id does not fit/)
  expect((await pool.query('select job_id from pgq.cancellations order by job_id')).rows).toEqual([
    { job_id: held },
    { job_id: '4711' },
  ])
})

describe('where nobody can be asked', () => {
  // Mutant: many jobs are changed without a question.
  test('many jobs need --yes', async () => {
    await bury(pool, 3)
    const { code, stderr } = await run('redrive', '--queue', QUEUE)
    expect(stderr).toContain('3 jobs would be redriven.')
    expect(stderr).toContain('--yes')
    expect(code).toBe(2)
    expect(await count('dead_jobs')).toBe(3)
  })
})

describe.runIf(onLinux)('on a terminal', () => {
  const terminal = { columns: 100 }

  test('one is asked; only yes means yes', async () => {
    await bury(pool, 3)
    const refused = await pgq(['redrive', '--queue', QUEUE], { env, terminal, input: '\r' })
    expect(refused.stdout).toContain('3 jobs would be redriven. Go on? [y/N]')
    expect(refused).toMatchObject({ code: 1, stdout: expect.stringContaining('Nothing was done.') })
    expect(await count('dead_jobs')).toBe(3)
    const agreed = await pgq(['redrive', '--queue', QUEUE], { env, terminal, input: 'yes\r' })
    expect(agreed.stdout).toContain('3 jobs redriven.')
    expect(await count('dead_jobs')).toBe(0)
  })

  test('Ctrl-C at the question ends it, and nothing is done', async () => {
    await bury(pool, 1)
    const asking = startPgq(['redrive', '--queue', QUEUE], { env, terminal, input: '' })
    await asking.printed(/Go on\?/)
    asking.child.stdin!.write('\x03')
    expect((await asking.ended).code).toBe(130)
    expect(await count('dead_jobs')).toBe(1)
  })

  test('long work has a bar', async () => {
    await bury(pool, 2_500)
    const { stdout } = await pgq(['redrive', '--queue', QUEUE, '--yes'], { env, terminal, input: '' })
    expect(stdout).toMatch(/█{24} 100% {2}2,500\/2,500/)
    expect(stdout).toContain('2,500 jobs redriven.')
  })
})

describe('Ctrl-C', () => {
  // Mutants: the batch that runs is broken off; what was done is not said; the code is 0.
  test('lets the batch that runs finish, and says how far it came', async () => {
    await bury(pool, 3_500)
    const release = await blockAfter(1_000)
    const working = startPgq(['redrive', '--queue', QUEUE, '--yes'], { env })
    await blocked()
    working.signal('SIGINT')
    await working.printed(/Finishing the batch that runs/)
    await release()
    const { code, stdout } = await working.ended
    expect(stdout).toBe('2,000 of 3,500 jobs redriven. Interrupted.\n')
    expect(code).toBe(130)
    expect(await count('jobs')).toBe(2_000)
    expect(await count('dead_jobs')).toBe(1_500)
  })

  // Mutant: only the first one is heard.
  test('a second one ends it at once', async () => {
    await bury(pool, 2_000)
    const release = await blockAfter(1_000)
    const working = startPgq(['redrive', '--queue', QUEUE, '--yes'], { env })
    await blocked()
    working.signal('SIGTERM')
    await working.printed(/Finishing the batch that runs/)
    working.signal('SIGTERM')
    expect((await working.ended).code).toBe(143)
    await release()
  })
})

describe('what comes back while it works', () => {
  // Mutants: batches that go on while there are any, round and round; those bounded by their number, which hit the same low ids
  // again and leave the others out.
  test('is not redriven a second time, and keeps no other one from it', async () => {
    await bury(pool, 2_500)
    await onEachReadyJob(`
      delete from pgq.jobs where id = new.id;
      insert into pgq.dead_jobs (id, queue, task, attempt) values (new.id, new.queue, new.task, 99);`)
    const { stdout } = await run('redrive', '--queue', QUEUE, '--yes', '--json')
    expect(JSON.parse(stdout)).toEqual({ jobs: 2_500, matched: 2_500 })
    expect(await count('dead_jobs', 'attempt = 99')).toBe(2_500)
  })

  test('is not made ready a second time either', async () => {
    await enqueue(pool, 2_500, { delayMs: 60_000 })
    await onEachReadyJob(`
      update pgq.jobs set attempt = attempt + 1, ready_at = clock_timestamp(), execute_at = now() + interval '1 hour'
      where id = new.id;`)
    const { stdout } = await run('retry', '--queue', QUEUE, '--yes', '--json')
    expect(JSON.parse(stdout)).toEqual({ jobs: 2_500, matched: 2_500 })
    expect(await count('jobs', 'attempt = 1')).toBe(2_500)
  })

  test('is not cancelled: new jobs come while it works', async () => {
    await enqueue(pool, 1_500)
    await pool.query(`
      create function pgq.one_more() returns trigger language plpgsql as $$
      begin
        insert into pgq.jobs (queue, task) values (old.queue, old.task);
        return null;
      end $$;
      create trigger one_more after delete on pgq.jobs for each row execute function pgq.one_more()`)
    onTestFinished(async () => void (await pool.query('drop function pgq.one_more cascade')))
    expect(await run('cancel', '--queue', QUEUE, '--yes')).toMatchObject({
      code: 0,
      stdout: '1,500 jobs cancelled, or asked to end.\n',
    })
    expect(await count('jobs')).toBe(1_500)
  })

  /** Does that to each job that becomes ready. */
  async function onEachReadyJob(body: string) {
    await pool.query(`
      create function pgq.come_back() returns trigger language plpgsql as $$ begin ${body} return null; end $$;
      create trigger come_back after insert or update on pgq.jobs for each row
      when (new.execute_at is null) execute function pgq.come_back()`)
    onTestFinished(async () => void (await pool.query('drop function pgq.come_back cascade')))
  }
})

test('what the database refuses halfway is said, with what was done before', async () => {
  await bury(pool, 1_500)
  await pool.query(`alter table pgq.jobs add constraint no_more check (id <= 1200)`)
  onTestFinished(async () => void (await pool.query('alter table pgq.jobs drop constraint no_more')))
  const { code, stderr } = await run('redrive', '--queue', QUEUE, '--yes')
  expect(stderr).toMatch(/The database says: .*no_more.* Before that, 1,000 jobs were redriven\./)
  expect(code).toBe(1)
})

test('pause and resume, and a name that nobody knows', async () => {
  await enqueue(pool, 1)
  expect(await run('pause', QUEUE, 'typo')).toMatchObject({
    code: 0,
    stdout: 'mail paused\ntypo paused\n',
    stderr: 'No job waits in "typo" and no worker serves it: is that its name?\n',
  })
  expect((await run('pause', QUEUE)).stdout).toBe('mail was paused already\n')
  expect((await run('status')).stdout).toMatch(/^mail .* paused since \d{4}-/m)
  const { stdout } = await run('resume', QUEUE, 'other', '--json')
  expect(
    stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line)),
  ).toEqual([
    { queue: QUEUE, changed: true },
    { queue: 'other', changed: false },
  ])
})

// Mutant: names are checked one by one, when the queues before are paused.
test.each(['pause', 'resume'])('%s checks all names first', async (command) => {
  await pool.query(`insert into pgq.queues (name, paused_at) values ('sms', now())`)
  expect(await run(command, QUEUE, 'sms', '')).toMatchObject({
    code: 2,
    stdout: '',
    stderr: expect.stringMatching(/^pgq: The queue name ""/),
  })
  expect((await pool.query('select name from pgq.queues where paused_at is not null')).rows).toEqual([{ name: 'sms' }])
})

/** Locks a dead letter's id in jobs, so that the batch which redrives it waits. Answers how to let it go on. */
async function blockAfter(jobs: number): Promise<() => Promise<void>> {
  const client = new pg.Client(url)
  await client.connect()
  await client.query('begin')
  await client.query(
    `insert into pgq.jobs (id, queue, task) select id, 'blocked', 'x' from pgq.dead_jobs order by id offset ${jobs} limit 1`,
  )
  return async () => {
    await client.query('rollback')
    await client.end()
  }
}

/** Resolves when somebody waits for a lock. */
async function blocked(): Promise<void> {
  const waits = async () =>
    (await pool.query(`select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`))
      .rowCount
  while (!(await waits())) await new Promise((resolve) => setTimeout(resolve, 20))
}
