import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'

/** At-least-once jobs run for long, and no transaction with them: what others delete meanwhile can be vacuumed. */
export const vacuumHorizon: BatteryTest = {
  number: 29,
  name: 'vacuum-horizon',
  waits: true,
  mutants: [
    {
      name: 'a claim stays open while its handlers run',
      patches: [
        {
          file: 'packages/worker/src/delivery/lease-mode.ts',
          find: "return claimAs(connection.on(client), { number, transactional: this.name === 'transactional' })",
          replace:
            "return client.query('begin').then(() => claimAs(connection.on(client), { number, transactional: false }))",
        },
      ],
    },
  ],
  async run(context) {
    const ms = context.long ? 600_000 : 8_000
    const queue = await context.queue()
    await queue.pool.query('create table churn (n integer) with (autovacuum_enabled = off)')
    const tasks = ['plain', 'finish'] as const
    await startCrew(context, 2, () => context.worker(queue, { tasks, options: { concurrency: 10 } }))
    let n = 0
    for (const task of tasks)
      await queue.enqueue(
        task,
        Array.from({ length: 10 }, () => ({ n: n++, ms })),
      )
    await until('they run', () => queue.value<boolean>(`${RUNNING.replace('::integer', ' = 20')}`))
    const ages: number[] = []
    let burnt = 0
    for (const end = performance.now() + ms - 2_000; performance.now() < end; ) {
      for (let times = 0; times < 20; times++) await queue.pool.query('insert into churn values ($1)', [burnt++])
      ages.push(await queue.value<number>(OLDEST))
      await sleep(context.long ? 500 : 50)
    }
    await queue.pool.query('delete from churn')
    let bytes = Number.NaN
    const isVacuumed = async () => {
      await queue.pool.query('vacuum (truncate on) churn')
      bytes = await queue.value<number>("select pg_relation_size('churn')::integer")
      return bytes === 0
    }
    // A short statement of somebody may be under way just then: again, while the handlers run.
    await until('all is vacuumed', isVacuumed, 1_000, 50).catch(() => {})
    const running = await queue.value<number>(RUNNING)
    const oldest = Math.max(...ages)
    expectNone([
      running < 20 && `Only ${running} of 20 jobs were still running.`,
      oldest > 100 && `A worker held back the horizon by ${oldest} of ${burnt} transactions.`,
      bytes > 0 && `${bytes} bytes of deleted rows could not be vacuumed.`,
    ])
    await verify(context, queue)
    return (
      `20 jobs of ${ms / 1_000} s: the horizon was never more than ${oldest} of ${burnt} transactions behind ` +
      `(${ages.length} looks); everything deleted meanwhile was vacuumed`
    )
  },
}

const RUNNING = "select count(*)::integer from pgq.job_states where state = 'running'"

/** How far behind the oldest snapshot or transaction of any worker's session is. */
const OLDEST = `
  select coalesce(max(greatest(age(backend_xmin), age(backend_xid))), 0)::integer from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid()`
