import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { PgBoss, type WorkOptions } from 'pg-boss'
import { listenOn } from './listen.js'
import { type Handler, type NewJob, type Place, QUEUE, type Runner, type System, type WorkerOptions } from './system.js'

const BATCH = 500
const IDLE_MS = 50

interface Settings {
  /** Workers woken by NOTIFY, which is off by default; they take batches, the next one at once after a full one. */
  readonly notify: boolean
  /** A loop of our own around fetch() and complete() in place of work(). */
  readonly loop: boolean
}

const pgBossWith = (settings: Settings): System => ({
  async prepare(place) {
    const boss = await started(place, settings)
    await boss.createQueue(QUEUE, { notify: settings.notify })
    await boss.createQueue('other')
    await boss.stop({ graceful: false })
  },
  async producer(place) {
    const boss = await started(place, settings)
    const pool = new pg.Pool({ connectionString: place.postgresUrl, max: 1 })
    return {
      enqueue: (args, priority) => boss.send(QUEUE, args, priority ? { priority } : {}),
      enqueueMany: (jobs) => boss.insert(jobs[0]?.queue ?? QUEUE, jobs.map(given)),
      async unfinished() {
        const { rows } = await pool.query(
          `/* bench */ select exists(select from pgboss.job where state < 'completed') as unfinished`,
        )
        return rows[0].unfinished
      },
      async close() {
        await boss.stop({ graceful: false })
        await pool.end()
      },
    }
  },
  async worker(place, options) {
    const boss = await started(place, settings)
    if (settings.loop) return fetchLoop(boss, options)
    await work(boss, settings, options)
    return { stop: () => boss.stop({ graceful: true, timeout: 5_000 }) }
  },
  listen: (place, onWake) => listenOn(place, channelOf, onWake),
})

export const pgBoss = pgBossWith({ notify: false, loop: false })
export const pgBossNotify = pgBossWith({ notify: true, loop: false })
export const pgBossLoop = pgBossWith({ notify: false, loop: true })

async function work(boss: PgBoss, { notify }: Settings, { mode, handler, concurrency }: WorkerOptions): Promise<void> {
  const options: WorkOptions = {
    ...(notify ? { batchSize: concurrency ?? BATCH, burstWhenBatchFull: true } : {}),
    ...(concurrency && !notify ? { localConcurrency: concurrency } : {}),
  }
  if (mode !== 'transactional') {
    await boss.work<object>(QUEUE, options, (jobs) => runAll(jobs, handler))
    return
  }
  // One transaction for the whole batch: one handler that fails repeats them all.
  const transactional = { ...options, transactional: true as const }
  await boss.work<object, unknown, typeof transactional>(QUEUE, transactional, async (jobs, db) => {
    for (const { data } of jobs) await handler(data, (sql) => db.executeSql(sql))
  })
}

/** The fastest way that it offers to get through a backlog. */
function fetchLoop(boss: PgBoss, { handler, concurrency }: WorkerOptions): Runner {
  let stopping = false
  const loop = async () => {
    while (!stopping) {
      const jobs = await boss.fetch<object>(QUEUE, { batchSize: concurrency ?? BATCH })
      await runAll(jobs, handler)
      if (jobs.length > 0)
        await boss.complete(
          QUEUE,
          jobs.map(({ id }) => id),
        )
      else await sleep(IDLE_MS)
    }
  }
  const running = loop()
  return {
    async stop() {
      stopping = true
      await running
      await boss.stop({ graceful: false })
    },
  }
}

async function runAll(jobs: readonly { data: object }[], handler: Handler): Promise<void> {
  await Promise.all(jobs.map(({ data }) => handler(data)))
}

// As its plans.ts derives it from the schema.
async function channelOf(client: pg.Client): Promise<string> {
  const { rows } = await client.query(`select 'pgboss_' || left(encode(sha224('pgboss'), 'hex'), 24) as channel`)
  return rows[0].channel
}

async function started({ postgresUrl }: Place, { notify }: Settings): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString: postgresUrl, useListenNotify: notify })
  boss.on('error', () => {})
  await boss.start()
  return boss
}

const given = ({ args, priority, delayMs }: NewJob) => ({
  data: args,
  ...(priority ? { priority } : {}),
  ...(delayMs ? { startAfter: new Date(Date.now() + delayMs) } : {}),
})
