import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'

/** Orders and their jobs are written in one transaction each; half of them roll back, and the producers are killed. */
export const transactionalEnqueue: BatteryTest = {
  number: 20,
  name: 'transactional-enqueue',
  mutants: [
    {
      name: 'calls of different transactions are written together',
      patches: [
        { file: 'packages/core/src/write-jobs.ts', find: 'lines.get(executor)?.', replace: 'lines.get(lines)?.' },
        { file: 'packages/core/src/write-jobs.ts', find: 'lines.set(executor,', replace: 'lines.set(lines,' },
      ],
    },
  ],
  async run(context) {
    const rounds = context.long ? 100 : 4
    const queue = await context.queue()
    await queue.pool.query('create table orders (n integer)')
    await context.worker(queue, { tasks: ['plain'] }).heard('ready')
    for (let round = 0; round < rounds; round++) {
      const producers = [1, 2].map((place) =>
        context.program('producer', { url: queue.url, from: (round * 2 + place) * 1_000_000, clients: 6 }),
      )
      await Promise.all(producers.map((producer) => producer.heard('ready')))
      await sleep(context.random.between(500, 1_200))
      for (const producer of producers) producer.kill('SIGKILL')
      await Promise.all(producers.map(({ ended }) => ended))
    }
    await until('nobody writes any more', () => queue.value<boolean>(QUIET))
    await verify(context, queue)
    const [found] = await queue.rows(COMPARE)
    expectNone([
      found.orders < 100 && `Only ${found.orders} orders were placed.`,
      found.jobless > 0 && `${found.jobless} orders have no job.`,
      found.orderless > 0 && `${found.orderless} jobs ran without an order.`,
    ])
    return `${rounds * 2} producers killed; ${found.orders} orders, each with its job; ${found.rolledBack} rolled back, none with a job`
  },
}

const QUIET = `select count(*) = 0 from pg_stat_activity
  where datname = current_database() and pid <> pg_backend_pid() and application_name = '' and state <> 'idle'`

const COMPARE = `
  select
    (select count(*)::integer from orders) as orders,
    (select count(*)::integer from orders where n not in (select n from effects)) as jobless,
    (select count(distinct n)::integer from effects where n not in (select n from orders)) as orderless,
    (select (sum(last - first + 1) - sum(placed))::integer from
      (select max(n) as last, min(n) as first, count(*) as placed from orders group by n / 1000000) as each) as "rolledBack"`
