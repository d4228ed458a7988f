import { bucketOf, defineTask, enqueueMany, recordStats, registerWorker, typed } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach } from 'vitest'
import { buildClient } from '../client/build.mjs'

/** A shop's queue in the middle of its day: jobs in every state, workers, statistics of the last hour. */
export async function stageShop(pool: pg.Pool) {
  const tasks = ['send-receipt', 'charge-card', 'sync-stock', 'resize-image', 'build-report']
  const enqueue = async (task: string, count: number, job: object, keyOf?: (n: number) => string) => {
    const results = await enqueueMany(
      pool,
      task,
      Array.from({ length: count }, (_, n) => ({
        args: { orderId: 40_000 + n, card: { number: '4242', brand: 'visa' } },
        ...job,
        ...(keyOf && { unique: { key: keyOf(n + 1) } }),
      })),
    )
    return results.map(({ id }) => id!)
  }
  const worker = (hostname: string, pid: number, queues: string[]) =>
    registerWorker(pool, 'pgq', { hostname, pid, queues, tasks, locks: false })
  const front = await worker('web-7f9c', 214, ['default', 'mail'])
  const back = await worker('batch-1', 87, ['images', 'reports'])
  const ready = await enqueue('send-receipt', 64, { queue: 'mail' })
  await enqueue('resize-image', 12, { queue: 'images', priority: 5 })
  const scheduled = await enqueue('sync-stock', 9, { delayMs: 5_400_000 })
  const retrying = await enqueue('charge-card', 3, { delayMs: 90_000 }, (renewal) => `renewal ${renewal}`)
  const parked = await enqueue('build-report', 4, { queue: 'reports', concurrency: { key: 'warehouse', max: 2 } })
  await pool.query(`update pgq.jobs set execute_at = 'infinity' where id = any ($1)`, [parked])
  await pool.query(`
    update pgq.jobs set ready_at = now() - (id % 40) * interval '1 second' where execute_at is null;
    update pgq.jobs set created_at = ready_at where execute_at is null`)
  await pool.query(
    `update pgq.jobs set attempt = 2, created_at = now() - interval '9 minutes', errors = json_build_array(
       json_build_object('attempt', 1, 'at', to_json(now() - interval '8 minutes'), 'name', 'TimeoutError', 'message', 'The bank did not answer within 10 s'),
       json_build_object('attempt', 2, 'at', to_json(now() - interval '3 minutes'), 'name', 'PaymentError', 'message', 'card 4242 was declined: try again later',
         'stack', E'PaymentError: card 4242 was declined: try again later\n    at charge (file:///app/payments.js:41:11)\n    at async run (file:///app/worker.js:18:3)'))
     where id = any ($1::bigint[])`,
    [retrying],
  )
  const running = await lease(pool, front, ['charge-card', 'charge-card', 'send-receipt'], 'default')
  const [report] = await lease(pool, back, ['build-report'], 'reports')
  const dead = await bury(pool, [
    ['send-receipt', 'mail', 'exhausted', 'SmtpError', (n) => `550 mailbox user${n}@shop.test is not there`, 37],
    ['charge-card', 'default', 'failed', 'PaymentError', (n) => `order ${9000 + n} was refunded already`, 12],
    ['resize-image', 'images', 'crashed', 'RangeError', () => 'Invalid typed array length: 5368709120', 3],
  ])
  await recordHour(pool, tasks)
  await stageSchedules(pool, report!)
  return { ready, scheduled, retrying, parked, running, report: report!, dead }
}

/** Of each kind, and in each state. */
async function stageSchedules(pool: pg.Pool, lastJobId: string): Promise<void> {
  const task = (name: string, queue = 'default') =>
    defineTask(name, { args: typed<{ day?: string; card?: { number: string; brand: string } }>(), queue })
  const working = { cron: '0 6 * * 1-5', timeZone: 'Europe/Berlin' }
  await task('build-report', 'reports').schedule(
    pool,
    { day: 'yesterday', card: { number: '4242', brand: 'visa' } },
    { name: 'daily-report', ...working, retry: { maxAttempts: 3 } },
  )
  await task('sync-stock').schedule(pool, {}, { everyMs: 300_000, catchUp: 'skip' })
  await task('send-newsletter', 'mail').schedule(pool, {}, { cron: '30 9 1 * *', timeZone: 'America/New_York' })
  await task('charge-card').schedule(pool, {}, { name: 'charge-renewals', cron: '15 * * * *', catchUp: 'all' })
  await pool.query(
    `update pgq.schedules set last_at = now() - interval '14 s', last_job_id = $1 where name = 'daily-report'`,
    [lastJobId],
  )
  await pool.query(
    `update pgq.leases set metas = array[json_build_object('schedule', 'daily-report', 'slot', '2026-03-02T05:00:00.000Z', 'traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01')]
     where ids = array[$1::bigint]`,
    [lastJobId],
  )
  await pool.query(`
    update pgq.schedules set paused_at = now() - interval '3 days' where name = 'send-newsletter';
    update pgq.schedules set failed_at = now() - interval '40 s', error = 'retry is {"maxAttempts":"many"}: maxAttempts is "many"; use a whole number from 1.'
    where name = 'charge-renewals'`)
}

async function lease(pool: pg.Pool, workerId: number, tasks: readonly string[], queue: string): Promise<string[]> {
  const { rows } = await pool.query(
    `insert into pgq.leases (worker_id, number, claimed_at, ids, positions, created_ats, ready_ats, priorities, attempts, crash_counts, queues, tasks, args, retries, metas, errors)
     select $1, 1, now() - interval '14 seconds', array_agg(nextval(pg_get_serial_sequence('pgq.jobs', 'id'))), array_agg(0), array_agg(now() - interval '1 minute'), array_agg(now() - interval '1 minute'), array_agg(0),
       array_agg(1), array_agg(0), array_agg($3::text), array_agg(task), array_agg('{"orderId": 7}'::json), array_agg(null::json), array_agg(null::json), array_agg(null::json)
     from unnest($2::text[]) as task
     returning ids::text[] as ids`,
    [workerId, tasks, queue],
  )
  return rows[0].ids
}

type DeadLetters = readonly [string, string, string, string, (n: number) => string, number]

/** Buries jobs as their last failure would. Answers the ids. */
export async function bury(pool: pg.Pool, kinds: readonly DeadLetters[]): Promise<string[]> {
  const rows = kinds.flatMap(([task, queue, reason, name, message, count]) =>
    Array.from({ length: count }, (_, n) => ({ task, queue, reason, name, message: message(n), n })),
  )
  const { rows: found } = await pool.query(
    `insert into pgq.dead_jobs (id, created_at, died_at, reason, attempt, queue, task, args, errors)
     select nextval(pg_get_serial_sequence('pgq.jobs', 'id')), now() - interval '2 hours', now() - n * interval '97 seconds', reason, 5, queue, task, json_build_object('orderId', 9000 + n),
       json_build_array(json_build_object('attempt', 5, 'at', to_json(now() - n * interval '97 seconds'), 'name', name, 'message', message, 'stack', name || ': ' || message))
     from json_to_recordset($1::json) as dead (task text, queue text, reason text, name text, message text, n integer)
     returning id::text as id`,
    [JSON.stringify(rows)],
  )
  return found.map(({ id }) => id)
}

/** The queue of a test file that acts on dead letters: three of them before each test, and the front end built. */
export async function threeDeadLetters() {
  const database = await testDatabase()
  const pool = new pg.Pool({ connectionString: database.url })
  const ids: string[] = []
  beforeAll(buildClient)
  beforeEach(async () => {
    await database.truncate()
    ids.splice(0, ids.length, ...(await bury(pool, [['mail', 'default', 'failed', 'Error', () => 'no', 3]])))
  })
  afterAll(() => pool.end())
  return { database, pool, ids }
}

/** An hour with a morning rush in it, minute by minute: 61 of them, as the first and the last one are cut by the hour. */
async function recordHour(pool: pg.Pool, tasks: readonly string[]): Promise<void> {
  const none = { snoozed: 0, exhausted: 0, failed: 0, cancelled: 0 }
  for (let minute = 0; minute <= 60; minute++) {
    const rush = 1 + Math.exp(-((minute - 34) ** 2) / 60) * 1.6 + Math.sin(minute / 4) * 0.12
    await recordStats(
      pool,
      'pgq',
      tasks.map((task, place) => {
        const completed = Math.round((rush * 420) / (place + 1))
        const histogram = (ms: number) =>
          new Map(
            [0.4, 0.7, 1, 1.5, 3, 7].map((factor, n) => [bucketOf(ms * factor), Math.ceil(completed / 2 ** (n + 1))]),
          )
        return {
          ...{ queue: task === 'send-receipt' ? 'mail' : 'default', task, completed },
          ...none,
          retried: Math.round(rush ** 3 * (place === 1 ? 6 : 1)),
          exhausted: minute > 30 && minute < 40 && place === 0 ? minute % 7 : 0,
          waits: histogram(9 * rush ** 2),
          runs: histogram(35 * (place + 1) * (0.9 + rush / 10)),
        }
      }),
    )
    await pool.query(
      `update pgq.job_stats set begun_at = begun_at - $1 * interval '1 minute' where id > (select max(id) - $2 from pgq.job_stats)`,
      [60 - minute, tasks.length],
    )
  }
}
