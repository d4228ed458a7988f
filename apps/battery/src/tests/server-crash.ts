import { setTimeout as sleep } from 'node:timers/promises'
import type { BatteryTest } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const CRASHES_AMID_CLAIMS = 3

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
    // What waits for nobody gets to the disk late: a crash takes more of it.
    const server = await context.server({ settings: { wal_writer_delay: 10_000 } })
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
    const isWorkedOff = () =>
      queue.waiting().then(
        (jobs) => jobs === 0,
        () => false,
      )
    await until('the server answers, and all is done', isWorkedOff)
    // Nothing is committed now that would take an at-most-once claim to the disk along: it has to wait for that itself.
    for (let crash = 0; crash < CRASHES_AMID_CLAIMS; crash++) {
      const first = next
      next += 12
      await queue.enqueue(
        'once',
        Array.from({ length: 12 }, (_, index) => ({ n: first + index, ms: 500 })),
      )
      const runs = () => queue.readHistory().some((event) => event.kind === 'started' && event.n >= first)
      await until('some of them run', runs, 30_000, 5)
      await server.restart('kill')
      await until('the server answers, and all is done', isWorkedOff)
    }
    const account = await verify(context, queue)
    return (
      `${crashes + CRASHES_AMID_CLAIMS} crashes; ${account.jobs} acknowledged jobs in ${account.runs} runs, ${refused} calls refused: ` +
      'none lost, effects once, at-most-once never twice'
    )
  },
}
