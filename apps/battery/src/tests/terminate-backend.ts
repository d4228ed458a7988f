import { setTimeout as sleep } from 'node:timers/promises'
import type { BatteryTest } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** Connections of living workers are ended by the server, one at a time and all at once. */
export const terminateBackend: BatteryTest = {
  number: 6,
  name: 'terminate-backend',
  mutants: [
    {
      name: 'a settlement whose answer was lost is given up',
      patches: [
        {
          file: 'packages/worker/src/acknowledger.ts',
          find: 'doubtful ||= breaksConnection(error)',
          replace: 'if (breaksConnection(error)) return; doubtful ||= false',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const [jobs, terminations] = long ? [10_000, 500] : [800, 60]
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    for (const task of tasks) await queue.enqueue(task, works(jobs, random, 25))
    const start = () => context.worker(queue, { tasks: [...tasks], options: { concurrency: 5, maxCrashes: 1_000 } })
    await startCrew(context, 3, start)
    for (let done = 0; done < terminations; ) {
      await sleep(random.between(20, 120))
      // Sometimes a whole worker loses every connection: that looks like a kill -9 from the other side.
      const limit = random.chance(0.1) ? 30 : random.between(1, 3)
      done += await queue.value<number>(TERMINATE, [limit, random.next()])
    }
    const account = await verify(context, queue)
    return `${terminations} backends terminated; ${account.jobs} jobs in ${account.runs} runs: none lost, effects once each`
  },
}

// The order is random, but repeats with the seed as far as the process ids do.
export const TERMINATE = `
  select count(pg_terminate_backend(pid))::integer from (
    select pid from pg_stat_activity
    where datname = current_database() and application_name like 'pgq%'
    order by md5(pid::text || $2::text) limit $1
  ) as chosen`
