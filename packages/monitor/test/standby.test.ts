import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { SqlClient } from '@pgq/core'
import { migrate } from '@pgq/migrations'
import { startPostgres } from '@pgq/test-db'
import pg from 'pg'
import { expect, onTestFinished, test } from 'vitest'
import {
  backlog,
  countJobs,
  failures,
  getJob,
  getSchedule,
  health,
  listDead,
  listReady,
  listRunning,
  listScheduled,
  listSchedules,
  listWorkers,
  statistics,
  statisticsByTask,
} from '../src/index.js'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const server = await startPostgres({ fast: true })
await migrate(server.url)
const queue = openQueue(server)
// The restart ends its connections.
queue.pool.on('error', () => {})

// Mutants: a function that only a primary has; a lock; a table made for the moment.
test('a standby answers every question as its primary does', { timeout: 60_000 }, async () => {
  onTestFinished(() => server.stop('immediate'))
  const { ids } = await everyState(queue)
  await queue.pool.query(`
    insert into pgq.job_stats (begun_at, grain, queue, task, completed, failed, run_buckets, run_counts)
    values (date_trunc('minute', now()), 'minute', 'default', 'mail', 3, 1, '{10}', '{3}');
    insert into pgq.schedules (name, task, every_ms, next_at) values ('hourly', 'mail', 3600000, now() + interval '1 hour');
    insert into pgq.jobs (queue, task) select 'long', 'mail' from generate_series(1, 120000)`)
  const before = await answers(queue.pool, ids)
  await queue.pool.query('checkpoint')

  // Without a primary to follow it stays what it is; a server takes connections as soon as its data is consistent.
  await server.restart('fast', () => writeFileSync(join(server.dataDir, 'standby.signal'), ''))
  const pool = new pg.Pool({ connectionString: server.url })
  onTestFinished(() => pool.end())
  expect((await pool.query('select pg_is_in_recovery() as standby')).rows).toEqual([{ standby: true }])
  expect(await answers(pool, ids)).toEqual(before)

  const { unseen, findings } = await health(pool)
  expect(unseen).toEqual([expect.stringContaining('This is a standby')])
  expect(findings.map(({ code }) => code)).toEqual(expect.arrayContaining(['jobs-die', 'workers-without-locks']))
  expect((await backlog(pool)).map(({ queue, exact }) => [queue, exact])).toContainEqual(['long', false])
})

async function answers(executor: SqlClient, ids: Record<string, string>) {
  const since = new Date(Date.now() - 3_600_000)
  const found: Record<string, unknown> = {}
  for (const [name, id] of Object.entries(ids)) found[name] = await getJob(executor, id, { withArgs: true })
  return {
    ...found,
    // Of the long queue the count is an estimate, from blocks taken at random.
    counts: (await countJobs(executor)).filter(({ exact }) => exact),
    queues: (await backlog(executor)).map(({ queue, nextScheduledAt, workers }) => ({
      queue,
      nextScheduledAt,
      workers,
    })),
    ready: await listReady(executor, { withArgs: true, limit: 10 }),
    scheduled: await listScheduled(executor, { withArgs: true }),
    running: await listRunning(executor, { withArgs: true }),
    dead: await listDead(executor, { withArgs: true }),
    schedules: await listSchedules(executor),
    schedule: await getSchedule(executor, 'hourly', { withArgs: true }),
    workers: (await listWorkers(executor)).map(({ beatAgeMs: _, ...worker }) => worker),
    completed: (await statistics(executor, { since })).steps.reduce((sum, { completed }) => sum + completed, 0),
    byTask: (await statisticsByTask(executor, { since })).map(({ task, completed, runMs }) => ({
      task,
      completed,
      runMs,
    })),
    failures: await failures(executor),
  }
}
