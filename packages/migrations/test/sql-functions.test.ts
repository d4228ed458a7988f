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
