import { setTimeout as sleep } from 'node:timers/promises'
import type { BatteryTest } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** The server crashes again and again under load; nothing that it acknowledged is lost, nothing that was done is done again. */
export const serverCrash: BatteryTest = {
  number: 3,
  name: 'server-crash',
  mutants: [
    {
      name: 'at-most-once claims do not wait for the disk',
      patches: [
        {
          file: 'packages/worker/src/worker.ts',
          find: "modes.includes('at-most-once') ? ",
          replace: 'modes.length > 99 ? ',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const server = await context.server()
    const queue = await context.queue(server)
    const crashes = long ? 20 : 3
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const start = () => context.worker(queue, { tasks: [...tasks], options: { concurrency: 6, maxCrashes: 1_000 } })
    await startCrew(context, 3, start)
    let [next, refused, stopped] = [0, 0, false]
    const producing = (async () => {
      while (!stopped) {
        const task = random.pick(tasks)
        await queue.enqueue(task, works(20, random, 30, next)).catch(() => {
          refused += 1
          return sleep(50)
        })
        next += 20
      }
    })()
    for (let crash = 0; crash < crashes; crash++) {
      await sleep(random.between(600, 1_800))
      await server.restart(random.chance(0.5) ? 'immediate' : 'kill')
    }
    await sleep(500)
    stopped = true
    await producing
    await until('the server answers', () =>
      queue.waiting().then(
        () => true,
        () => false,
      ),
    )
    const account = await verify(context, queue)
    return (
      `${crashes} crashes; ${account.jobs} acknowledged jobs in ${account.runs} runs, ${refused} calls refused: ` +
      'none lost, effects once, at-most-once never twice'
    )
  },
}
