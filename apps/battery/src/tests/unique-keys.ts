import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask, type SqlClient, typed } from '@pgq/core'
import { type BatteryTest, expect } from '../battery-test.js'
import { startCrew } from '../crew.js'
import type { Work } from '../programs/worker.js'
import { sqlPatch } from '../sql-patch.js'
import { until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'

const KEYS = 4
const CALLERS = 6

/** Many callers enqueue jobs of few keys, while workers run, fail and are killed: no key has two jobs that are not done. */
export const uniqueKeys: BatteryTest = {
  number: 42,
  name: 'unique-keys',
  mutants: [
    {
      name: 'a job that runs does not count',
      patches: [
        sqlPatch(
          'insert_unique_jobs',
          "where job.until = 'finished' and job.if_waiting = 'keep' and holder.job_id = any (lease.ids)",
          "where job.until = 'never' and holder.job_id = any (lease.ids)",
        ),
      ],
    },
    {
      name: 'a key is looked at without its lock',
      patches: [
        sqlPatch(
          'insert_unique_jobs',
          'on conflict on constraint job_keys_pkey do update set job_id = known.job_id;',
          'on conflict on constraint job_keys_pkey do nothing;',
        ),
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const start = () => context.worker(queue, { tasks: ['plain'], options: { concurrency: 8, maxCrashes: 1_000 } })
    const crew = await startCrew(context, 3, start)
    const task = defineTask('plain', { args: typed<Work>() })
    const statuses = { inserted: 0, duplicate: 0, replaced: 0 }
    let isOver = false
    const callers = Array.from({ length: CALLERS }, async () => {
      // One of its own for each: calls on one executor would travel together.
      const executor: SqlClient = { query: (sql, params) => queue.pool.query(sql, params) }
      while (!isOver) {
        const n = random.between(0, KEYS - 1)
        const deed = random.between(0, 5) < 1 ? ({ deed: 'retry-later' } as const) : {}
        const unique = { key: `key ${n}` }
        const { status } = await task.enqueue(executor, { n, ms: random.between(0, 40), ...deed }, { unique })
        statuses[status] += 1
      }
    })
    let looks = 0
    let twice: { key: string; jobs: string[] } | undefined
    const watcher = (async () => {
      for (; !isOver && !twice; looks++) {
        ;[twice] = await queue.rows<{ key: string; jobs: string[] }>(TWICE)
        await sleep(5)
      }
    })()
    const rounds = long ? 300 : 12
    for (let round = 0; round < rounds && !twice; round++) {
      await sleep(random.between(100, 600))
      ;(await crew.pick()).kill('SIGKILL')
    }
    isOver = true
    await Promise.all([...callers, watcher])
    expect(!twice, `${twice?.key} has the jobs ${twice?.jobs.join(' and ')} at the same time.`)
    await until('every job is done', async () => (await queue.waiting()) === 0, 60_000)
    const free = await leftKeys(queue)
    expect(free === KEYS, `${free} of ${KEYS} keys are free when all jobs are done.`)
    expect(statuses.duplicate > 0, 'No call came while a key was taken.')
    return (
      `${rounds} kills; ${statuses.inserted} jobs of ${KEYS} keys, ${statuses.duplicate} calls that were told of another one: ` +
      `never two of a key in ${looks} looks`
    )
  },
}

const TWICE = `
  select key, array_agg(id::text) as jobs
  from (
    select meta ->> 'key' as key, id from pgq.jobs
    union all
    select running.meta ->> 'key', running.id
    from pgq.leases as lease cross join lateral unnest(lease.metas, lease.ids) with ordinality as running (meta, id, ordinal)
    where running.ordinal <> all (lease.done)
  ) as unfinished
  group by key
  having count(*) > 1`

/** How many keys a new job can have. */
async function leftKeys(queue: TestQueue): Promise<number> {
  const task = defineTask('plain', { args: typed<Work>() })
  const results = await task.enqueueMany(
    queue.pool,
    Array.from({ length: KEYS }, (_, n) => ({ args: { n }, unique: { key: `key ${n}` } })),
  )
  return results.filter(({ status }) => status === 'inserted').length
}
