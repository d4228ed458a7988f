import { defineTask, type Job, typed } from '@pgq/core'
import { latestVersion, migrate, schemaVersion } from '@pgq/migrations'
import { createWorker } from '@pgq/worker'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** What a later version's migration may do under running workers of this one: add columns with defaults, tables, indexes. */
const NEWER = [
  ...['jobs', 'leases', 'dead_jobs', 'workers', 'idle_workers', 'finished_jobs', 'queues', 'cancellations'].map(
    (table) => `alter table pgq.${table} add column of_the_next_version jsonb not null default '{}'`,
  ),
  'create table pgq.next_version (job_id bigint)',
  'create index next_version_idx on pgq.jobs (task)',
  `insert into pgq.migrations (id, name, hash) values (${latestVersion + 1}, 'next', 'hash')`,
]

/** Workers on a schema that is newer than they are, and on one that is older: they work, or say what is wrong; no job is lost. */
export const rollingUpgrade: BatteryTest = {
  number: 37,
  name: 'rolling-upgrade',
  mutants: [
    {
      name: 'migrate() takes a newer schema for its own',
      patches: [
        {
          file: 'packages/migrations/src/check-history.ts',
          find: '  if (version <= latest) return\n',
          replace: '  if (version >= 0) return\n',
        },
      ],
    },
    {
      name: 'what is missing in the schema is an error like any other',
      patches: [
        {
          file: 'packages/core/src/executor.ts',
          find: 'if (isMissingObject(error))',
          replace: 'if (!error && isMissingObject(error))',
        },
      ],
    },
  ],
  async run(context) {
    const ahead = await onNewerSchema(context)
    const behind = await onOlderSchema(context)
    return `${ahead}; ${behind}`
  },
}

/** The migration comes while the workers work: those that are open, and one that starts afterwards. */
async function onNewerSchema(context: TestContext): Promise<string> {
  const { random, long } = context
  const queue = await context.queue()
  const tasks = ['plain', 'finish', 'transactional', 'once'] as const
  const start = () => context.worker(queue, { tasks: [...tasks], options: { maxCrashes: 1_000 } })
  const old = [start(), start()]
  await Promise.all(old.map((worker) => worker.heard('ready')))
  const batches = long ? 100 : 10
  const enqueue = async (batch: number) => {
    for (const task of tasks) await queue.enqueue(task, works(20, random, 30, batch * 20))
  }
  for (let batch = 0; batch < batches; batch++) {
    await enqueue(batch)
    const step = NEWER[batch]
    if (step) await queue.pool.query(step)
  }
  for (const step of NEWER.slice(batches)) await queue.pool.query(step)
  await start().heard('ready')
  old[0]!.kill('SIGKILL')
  await enqueue(batches)
  const { jobs, runs } = await verify(context, queue)
  const refusal = await migrate(queue.url).then(
    () => 'nothing',
    ({ code }) => code,
  )
  const version = await schemaVersion(queue.pool)
  expectNone([
    refusal !== 'PGQ_SCHEMA_TOO_NEW' && `migrate() of the older version said ${refusal}.`,
    version !== latestVersion + 1 && `The schema was changed to version ${version}.`,
  ])
  return `on a newer schema ${jobs} jobs in ${runs} runs, and the older migrate() is refused`
}

/** A column that the workers need is not there yet: each in turn. */
async function onOlderSchema(context: TestContext): Promise<string> {
  const queue = await context.queue()
  const columns = await queue.rows<{ table: string; column: string }>(COLUMNS)
  const chosen = context.long ? columns : columns.filter(() => context.random.chance(12 / columns.length))
  const counts = { refused: 0, told: 0, worked: 0 }
  for (const column of chosen) counts[await without(context, queue, column)] += 1
  return (
    `with one of ${chosen.length} columns missing ${counts.refused} starts were refused, ${counts.told} workers said so and waited, ` +
    `${counts.worked} did without; all jobs done when it was there`
  )
}

const COLUMNS = `
  select table_name as "table", column_name as "column" from information_schema.columns
  join information_schema.tables using (table_schema, table_name)
  where table_schema = 'pgq' and table_type = 'BASE TABLE' and table_name not in ('migrations', 'job_stats')
  order by 1, 2`

async function without(
  context: TestContext,
  queue: TestQueue,
  { table, column }: { table: string; column: string },
): Promise<'refused' | 'told' | 'worked'> {
  const done = new Map<string, number>()
  const ends: (() => void)[] = []
  const allDone = new Promise<void>((resolve) => ends.push(resolve))
  const tasks = (['at-least-once', 'transactional', 'at-most-once'] as const).map((mode) =>
    defineTask(`upgrade-${mode}`, { mode, args: typed<{ deed: string }>() }).handle(((
      { deed }: { deed: string },
      job: Job,
    ) => {
      if (deed === 'retry' && mode !== 'at-most-once' && job.attempt === 1) throw new Error('again')
      const key = `${mode} ${deed}`
      done.set(key, (done.get(key) ?? 0) + 1)
      if (done.size === 6) for (const end of ends) end()
    }) as never),
  )
  await queue.pool.query(`truncate pgq.jobs, pgq.dead_jobs`)
  for (const { task } of tasks) {
    for (const deed of ['run', 'retry']) {
      await queue.pool.query('insert into pgq.jobs (task, args, retry) values ($1, $2, $3)', [
        task.name,
        { deed },
        { minDelayMs: 0 },
      ])
    }
  }
  const move = async (from: string, to: string) =>
    queue.pool.query(`alter table pgq.${table} rename column ${from} to ${to}`)
  await move(column, 'not_yet')
  const create = () =>
    createWorker({ connectionString: queue.url, handlers: tasks, handleSignals: false, concurrency: 2, graceMs: 1_000 })
  const worker = create()
  context.onEnd(() => worker.stop())
  const told = new Promise<string>((resolve) => {
    worker.on('database.lost', ({ error }) => resolve(codeOf(error)))
    worker.on('job.unsettled', ({ error }) => resolve(codeOf(error)))
  })
  const started = await worker.start().then(
    () => '',
    (error) => codeOf(error),
  )
  const said = started || (await Promise.race([told, allDone.then(() => 'done'), late()]))
  const where = `Without ${table}.${column} the worker`
  expect(['PGQ_NOT_MIGRATED', 'done'].includes(said), `${where} said ${said}.`)
  await move('not_yet', column)
  const next = started ? create() : worker
  context.onEnd(() => next.stop())
  if (started) await next.start()
  await Promise.race([allDone, late()])
  await until('every job is settled', async () => (await queue.waiting()) === 0, 15_000, 20).catch(() => {})
  await next.stop()
  const dead = await queue.value<number>(`select count(*)::integer from pgq.dead_jobs`)
  const twice = [...done].filter(([key, times]) => times > 1 && !key.startsWith('at-least-once'))
  expectNone([
    done.size < 6 && `${where} lost jobs: only ${[...done.keys()].join(', ')} ran.`,
    dead > 0 && `${where} buried ${dead} jobs.`,
    twice.some(([key]) => key.startsWith('at-most-once')) &&
      `${where} ran ${twice.map(([key]) => key).join(', ')} again.`,
  ])
  return started ? 'refused' : said === 'done' ? 'worked' : 'told'
}

const codeOf = (error: unknown): string => {
  const { code, message } = error as { code?: string; message: string }
  return `${code ?? message}`
}

const late = (): Promise<string> => new Promise((resolve) => setTimeout(() => resolve('nothing'), 20_000).unref())
