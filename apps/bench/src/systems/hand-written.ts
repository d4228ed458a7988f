import pg from 'pg'
import { listenOn } from './listen.js'
import { type Handler, type NewJob, type Place, QUEUE, type Runner, type System, type WorkerOptions } from './system.js'

const BATCH = 1_000
const CONNECTIONS = 10

/**
 * SQL as one writes it by hand for queues with priorities and due times, and nothing around it: the limit of what this server
 * and this client can do. Not a queue to use: no retries, and a batch that was deleted is lost in a crash.
 */
const handWrittenWith = (insert: Insert): System => ({
  async prepare({ postgresUrl }) {
    const client = new pg.Client(postgresUrl)
    await client.connect()
    await client.query(`
      create table jobs (
        id bigint generated always as identity primary key,
        queue text not null default '${QUEUE}',
        priority smallint not null default 0,
        run_at timestamptz not null default now(),
        taken_at timestamptz,
        args json not null
      );
      create index jobs_claim_idx on jobs (queue, priority desc, id) where taken_at is null`)
    await client.end()
  },
  async producer({ postgresUrl }) {
    const pool = new pg.Pool({ connectionString: postgresUrl, max: 50 })
    return {
      enqueue: insert(pool),
      enqueueMany: (jobs) => insertMany(pool, jobs),
      async unfinished() {
        const { rows } = await pool.query('/* bench */ select exists(select from jobs) as unfinished')
        return rows[0].unfinished
      },
      close: () => pool.end(),
    }
  },
  worker: (place, options) =>
    options.mode === 'transactional' ? oneTransactionPerJob(place, options) : batchesAhead(place, options),
  listen: (place, onWake) => listenOn(place, () => 'jobs', onWake),
})

function insertMany(pool: pg.Pool, jobs: readonly NewJob[]): Promise<unknown> {
  const args = jobs.map((job) => JSON.stringify(job.args))
  const { queue, delayMs } = jobs[0]!
  if (!queue && !delayMs && jobs.every(({ priority }) => !priority))
    return pool.query('insert into jobs (args) select unnest($1::json[])', [args])
  return pool.query(
    `insert into jobs (args, priority, queue, run_at)
     select args, priority, $3, now() + $4 * interval '1 ms' from unnest($1::json[], $2::smallint[]) as job (args, priority)`,
    [args, jobs.map(({ priority }) => priority ?? 0), queue ?? QUEUE, delayMs ?? 0],
  )
}

type Insert = (pool: pg.Pool) => (args: object) => Promise<unknown>

const inserting =
  (name: string, text: string): Insert =>
  (pool) =>
  (args) =>
    pool.query({ name, text, values: [JSON.stringify(args)] })

/** One INSERT for each call. */
export const handWritten = handWrittenWith(inserting('insert', 'insert into jobs (args) values ($1)'))

/** And one NOTIFY with each, to a worker that sleeps until then: the limit of what latency can be with jobs that are durable. */
export const handWrittenNotify: System = {
  ...handWrittenWith(
    inserting('notify', `with job as (insert into jobs (args) values ($1)) select pg_notify('jobs', '')`),
  ),
  worker: wokenByNotify,
}

/** Calls in flight together written as one INSERT: the limit of every queue that does so. */
export const handWrittenGrouped = handWrittenWith((pool) => {
  let waiting: { args: object; resolve: () => void; reject: (error: unknown) => void }[] = []
  let flushing = false
  const flush = async () => {
    flushing = true
    await null
    while (waiting.length > 0) {
      const calls = waiting
      waiting = []
      const values = [JSON.stringify(calls.map(({ args }) => ({ args })))]
      const text = 'insert into jobs (args) select args from json_to_recordset($1) as new (args json)'
      await pool.query({ name: 'grouped', text, values }).then(
        () => calls.forEach(({ resolve }) => void resolve()),
        (error) => calls.forEach(({ reject }) => void reject(error)),
      )
    }
    flushing = false
  }
  return (args) =>
    new Promise<void>((resolve, reject) => {
      waiting.push({ args, resolve, reject })
      if (!flushing) void flush()
    })
})

/** Marks a batch as taken, runs it, and deletes it: at-least-once as one writes it by hand, without a rescue. */
export const handWrittenUpdate: System = { ...handWritten, worker: (place, options) => marked(place, options) }

/** Deletes a batch with one autocommitted statement while the one before runs: at-most-once. */
const batchesAhead = (place: Place, { handler }: WorkerOptions): Promise<Runner> =>
  ahead(place, claimUpTo(BATCH), async (jobs) => {
    for (const { args } of jobs) await handler(args)
  })

async function marked(place: Place, { handler }: WorkerOptions): Promise<Runner> {
  const client = await connected(place)
  let deleted: Promise<unknown> = Promise.resolve()
  const taking = await ahead(place, TAKE, async (jobs) => {
    for (const { args } of jobs) await handler(args)
    const text = 'delete from jobs where id = any($1::bigint[])'
    await deleted
    deleted = client.query({ name: 'delete', text, values: [jobs.map(({ id }) => id)] })
  })
  return {
    async stop() {
      await taking.stop()
      await deleted
      await client.end()
    },
  }
}

/** Takes the next batch while the one before runs. */
async function ahead(place: Place, text: string, run: (jobs: Row[]) => Promise<void>): Promise<Runner> {
  const client = await connected(place)
  const claim = async (): Promise<Row[]> => (await client.query({ name: 'claim', text })).rows
  const loop = async (isStopping: () => boolean) => {
    let next = claim()
    while (!isStopping()) {
      const batch = await next
      next = batch.length === 0 ? pause().then(claim) : claim()
      if (batch.length > 0) await run(batch)
    }
    await next
  }
  return runner([loop], () => client.end())
}

interface Row {
  readonly id: string
  readonly args: object
}

async function connected({ postgresUrl }: Place): Promise<pg.Client> {
  const client = new pg.Client(postgresUrl)
  await client.connect()
  await client.query('set enable_seqscan = off; set enable_sort = off; set enable_bitmapscan = off')
  return client
}

const firstReady = (limit: number): string => `
  ctid = any(array(
    select ctid from jobs where queue = '${QUEUE}' and taken_at is null and run_at <= now()
    order by priority desc, id limit ${limit} for update skip locked
  ))`

const claimUpTo = (limit: number): string => `delete from jobs where ${firstReady(limit)} returning id, args`

const TAKE = `update jobs set taken_at = now() where ${firstReady(BATCH)} returning id, args`

/** One job in one transaction, on each of ten connections: exactly-once for what the handler writes. */
async function oneTransactionPerJob({ postgresUrl }: Place, { handler, concurrency }: WorkerOptions): Promise<Runner> {
  const pool = new pg.Pool({ connectionString: postgresUrl, max: concurrency ?? CONNECTIONS })
  const loop = async (isStopping: () => boolean) => {
    const client = await pool.connect()
    while (!isStopping()) if (!(await runOne(client, handler))) await pause()
    client.release()
  }
  return runner(new Array(concurrency ?? CONNECTIONS).fill(loop), () => pool.end())
}

async function runOne(client: pg.PoolClient, handler: Handler): Promise<boolean> {
  await client.query('begin')
  const { rows } = await client.query({ name: 'claim', text: claimUpTo(1) })
  if (rows.length > 0) await handler(rows[0].args, (sql) => client.query({ name: sql.slice(0, 60), text: sql }))
  await client.query('commit')
  return rows.length > 0
}

async function wokenByNotify({ postgresUrl }: Place, { handler }: WorkerOptions): Promise<Runner> {
  const client = new pg.Client(postgresUrl)
  await client.connect()
  const run = (text: string) => client.query(text)
  const workOff = async () => {
    for (;;) {
      const { rows } = await client.query({ name: 'claim', text: claimUpTo(1) })
      if (rows.length === 0) return
      await handler(rows[0].args, run)
    }
  }
  let working = Promise.resolve()
  client.on('notification', () => {
    working = working.then(workOff)
  })
  await client.query('listen jobs; set synchronous_commit = off')
  return { stop: () => working.then(() => client.end()) }
}

type Loop = (isStopping: () => boolean) => Promise<void>

function runner(loops: readonly Loop[], close: () => Promise<void>): Runner {
  let stopping = false
  const running = Promise.all(loops.map((loop) => loop(() => stopping)))
  return {
    async stop() {
      stopping = true
      await running
      await close()
    },
  }
}

const pause = () => new Promise<void>((resolve) => setTimeout(resolve, 20))
