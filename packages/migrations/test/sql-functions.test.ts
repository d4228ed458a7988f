import { once } from 'node:events'
import { describe, expect, test } from 'vitest'
import { migrate } from '../src/index.js'
import { connect, emptyDatabase } from './empty-database.js'

/** A queue in a schema of another name, and a caller whose search path leads to other tables of the same names. */
async function misledCaller(url?: string) {
  const client = await connect(url ?? (await emptyDatabase()))
  await migrate(client, { schema: 'job_queue' })
  await client.query(`
    create schema decoy;
    create table decoy.jobs (like job_queue.jobs including all);
    create table decoy.idle_workers (like job_queue.idle_workers including all);
    set search_path to decoy`)
  return client
}

describe('SQL functions under a search path that is not the queue', () => {
  test('enqueue() stores in its own schema', async () => {
    const client = await misledCaller()
    const { rows } = await client.query(`
      select job_queue.enqueue('mail', '{"to":  "you"}', queue => 'slow', priority => 5, delay_ms => 3600000)::text as id`)
    const stored = await client.query(`
      select id::text, queue, task, args::text, priority, execute_at - created_at = interval '1 hour' as delayed
      from job_queue.jobs`)
    expect(stored.rows).toEqual([
      { id: rows[0].id, queue: 'slow', task: 'mail', args: '{"to":  "you"}', priority: 5, delayed: true },
    ])
    expect((await client.query('select * from decoy.jobs')).rows).toEqual([])
  })

  test('enqueue_many() answers the ids in the order given', async () => {
    const client = await misledCaller()
    const jobs = Array.from({ length: 1000 }, (_, number) => ({ task: `task ${number}` }))
    const { rows } = await client.query('select job_queue.enqueue_many($1)::text as id', [JSON.stringify(jobs)])
    const stored = await client.query('select id::text, task from job_queue.jobs order by position')
    expect(stored.rows).toEqual(rows.map(({ id }, number) => ({ id, task: `task ${number}` })))
  })

  // Mutant: without array_nulls: no job without a time of its own can be enqueued. Before PostgreSQL 18, without datestyle: IST is Israel's.
  test('enqueue_many() understands itself, however the caller reads arrays and instants', async () => {
    const client = await misledCaller()
    await client.query(`set array_nulls = off; set datestyle = 'SQL, DMY'; set timezone = 'Asia/Kolkata'`)
    const jobs = [{ task: 'a' }, { task: 'b', execute_at: '2100-02-01T00:00:00Z' }]
    await client.query('select job_queue.enqueue_many($1)', [JSON.stringify(jobs)])
    const { rows } = await client.query(`
      select task, execute_at is null as ready, execute_at = '2100-02-01T00:00:00Z' as "isIn2100"
      from job_queue.jobs order by position`)
    expect(rows).toEqual([
      { task: 'a', ready: true, isIn2100: null },
      { task: 'b', ready: false, isIn2100: true },
    ])
  })

  // Mutants: retry, names, the priority, a delay, or the job, stored unchecked; the args out of the record, where JSON's null is none.
  test('what is wrong is refused with an error that says so, and writes nothing', async () => {
    const client = await misledCaller()
    const refused: [call: string, message: string][] = [
      [`enqueue(null)`, 'null value in column "task"'],
      [`enqueue('')`, 'violates check constraint "jobs_task_check"'],
      [`enqueue(repeat('x', 201))`, 'xxx" is not allowed: use a text of 1 to 200 characters.'],
      [`enqueue(repeat('😀', 101))`, 'is not allowed: use a text of 1 to 200 characters.'],
      [`enqueue('a', null)`, 'null value in column "args"'],
      [`enqueue('a', '{')`, 'invalid input syntax for type json'],
      [`enqueue('a', queue => null)`, 'null value in column "queue"'],
      [`enqueue('a', queue => '')`, 'violates check constraint "jobs_queue_check"'],
      [`enqueue('a', queue => repeat('ü', 201))`, 'üü" is not allowed'],
      [`enqueue('a', priority => null)`, 'null value in column "priority"'],
      [`enqueue('a', priority => 32768)`, 'priority is 32768; use a whole number from -32768 to 32767.'],
      [`enqueue('a', execute_at => '2100-13-01')`, 'date/time field value out of range'],
      [`enqueue('a', delay_ms => 'NaN')`, 'delay_ms is NaN; use milliseconds from 0 to 315576000000.'],
      [`enqueue('a', delay_ms => -1)`, 'delay_ms is -1; use'],
      [`enqueue('a', delay_ms => 315576000001)`, 'delay_ms is 315576000001; use'],
      [`enqueue('a', execute_at => now(), delay_ms => 1)`, 'give execute_at or delay_ms, not both.'],
      [`enqueue('a', retry => 'null')`, 'retry is null; use an object'],
      [`enqueue('a', retry => '[3]')`, 'retry is [3]; use an object, as in {"maxAttempts": 3}.'],
      [`enqueue('a', retry => '{"attempts": 3}')`, 'unknown option attempts of retry. The options are maxAttempts'],
      [`enqueue('a', retry => '{"backoff": 3}')`, 'unknown option backoff of retry.'],
      [
        `enqueue('a', retry => '{"jitter": 0, "maxAttempts": 0}')`,
        'retry.maxAttempts is 0; use a whole number from 1 to 32767.',
      ],
      [`enqueue('a', retry => '{"maxAttempts": 2.5}')`, 'retry.maxAttempts is 2.5'],
      [`enqueue('a', retry => '{"minDelayMs": "5"}')`, 'retry.minDelayMs is "5"; use a number from 0 to 315576000000.'],
      [`enqueue('a', retry => '{"maxDelayMs": null}')`, 'retry.maxDelayMs is null'],
      [`enqueue('a', retry => '{"factor": 0.5}')`, 'retry.factor is 0.5; use a number from 1 to 1000.'],
      [`enqueue('a', retry => '{"jitter": -0.1}')`, 'retry.jitter is -0.1; use a number from 0 to 1.'],
      [`enqueue_many('{"task": "a"}')`, 'non-array'],
      [`enqueue_many('[{"task": "a"}, 5]')`, 'a job is 5; use an object, as in {"task": "send-mail"}.'],
      [`enqueue_many('[null]')`, 'a job is null; use an object'],
      [`enqueue_many('[{"task": "a"}, {}]')`, 'the task name null is not allowed'],
      [`enqueue_many('[{"task": "a", "delayMs": 5}]')`, 'unknown option delayMs of a job. The options are task, args'],
      [`enqueue_many('[{"task": "a", "execute_at": "2100-01-01", "delay_ms": 5}]')`, 'give execute_at or delay_ms'],
      [`enqueue_many('[{"task": "a", "queue": ""}]')`, 'the queue name "" is not allowed'],
      [`enqueue_many('[{"task": "a", "priority": 1.5}]')`, 'priority is 1.5; use a whole number'],
      [`enqueue_many('[{"task": "a", "priority": 32768}]')`, 'priority is 32768; use a whole number'],
      [`enqueue_many('[{"task": "a", "delay_ms": -1}]')`, 'delay_ms is -1; use milliseconds'],
      [
        `enqueue_many('[{"task": "a", "execute_at": "soon"}]')`,
        'invalid input syntax for type timestamp with time zone: "soon"',
      ],
      [`enqueue_many('[{"task": "a"}, {"task": "a", "retry": 3}]')`, 'retry is 3; use an object'],
    ]
    for (const [call, message] of refused) {
      const error = await client.query(`select job_queue.${call}`).catch((thrown) => thrown)
      expect.soft(error.message, call).toContain(message)
    }
    expect((await client.query('select * from job_queue.jobs')).rows).toEqual([])
  })

  test('what is strange and not wrong is stored as it is', async () => {
    const client = await misledCaller()
    const name = `Büro "{null}", \\ '😀' ${'x'.repeat(150)}`
    const single = `select job_queue.enqueue($1, $2, queue => $1, priority => -32768, execute_at => 'infinity', retry => $3)`
    await client.query(single, [name, 'null', '{"maxAttempts": 3, "jitter": 0}'])
    await client.query(
      `select job_queue.enqueue('past', execute_at => '-infinity'), job_queue.enqueue('past', delay_ms => 0)`,
    )
    await client.query(`select job_queue.enqueue(repeat('😀', 100), delay_ms => 315576000000)`)
    await client.query(`delete from job_queue.jobs where task = repeat('😀', 100)`)
    const many = [
      {
        task: name,
        queue: name,
        args: null,
        priority: -32_768,
        execute_at: 'infinity',
        retry: { maxAttempts: 3, jitter: 0 },
      },
      { task: 'NULL', queue: null, priority: null, delay_ms: null, retry: null, meta: null },
      { task: 'past', execute_at: '0044-03-15 BC' },
    ]
    await client.query('select job_queue.enqueue_many($1)', [JSON.stringify(many)])
    // What json_agg() answers when there is nothing to enqueue.
    expect((await client.query('select job_queue.enqueue_many(null)')).rows).toEqual([])
    expect((await client.query(`select job_queue.enqueue_many('[]')`)).rows).toEqual([])
    const { rows } = await client.query(`
      select task, queue, args::text, priority, execute_at::text, retry, meta from job_queue.jobs order by position`)
    const plain = { queue: 'default', args: '{}', priority: 0, execute_at: null, retry: null, meta: null }
    const strange = {
      task: name,
      queue: name,
      args: 'null',
      priority: -32_768,
      execute_at: 'infinity',
      retry: { maxAttempts: 3, jitter: 0 },
      meta: null,
    }
    expect(rows).toEqual([
      strange,
      { ...plain, task: 'past' },
      { ...plain, task: 'past' },
      strange,
      { ...plain, task: 'NULL' },
      { ...plain, task: 'past' },
    ])
  })

  test('the doorbell rings for a worker of this schema that waits for this queue', async () => {
    const url = await emptyDatabase()
    const client = await misledCaller(url)
    const worker = await connect(url)
    // The worker with the lower id is lost: nobody holds its lock.
    await worker.query(`
      insert into job_queue.workers select from generate_series(1, 2);
      insert into job_queue.idle_workers select id, 'bell' || id, '{slow}' from job_queue.workers;
      select pg_advisory_lock_shared('job_queue.workers'::regclass::oid::integer, 2);
      listen bell1; listen bell2`)
    const rung = once(worker, 'notification')
    await client.query(`select job_queue.enqueue('mail', queue => 'slow')`)
    expect(await rung).toMatchObject([{ channel: 'bell2' }])
    // Mutant: ring_doorbell() that keeps the lock it tried: the next rescue takes the worker for alive.
    expect(
      (
        await client.query(`select count(*)::integer as n from pg_locks
        where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`)
      ).rows,
    ).toEqual([{ n: 1 }])
  })

  test('the views count what is there', async () => {
    const client = await misledCaller()
    await client.query(
      `select job_queue.enqueue_many('[{"task": "a"}, {"task": "a"}, {"task": "b", "delay_ms": 60000}]')`,
    )
    const { rows } = await client.query('select task, state, jobs::integer from job_queue.queue_counts order by task')
    expect(rows).toEqual([
      { task: 'a', state: 'ready', jobs: 2 },
      { task: 'b', state: 'scheduled', jobs: 1 },
    ])
  })
})
