import { setTimeout as sleep } from 'node:timers/promises'
import { startProxy } from '@pgq/test-db'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { now } from '../history.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** A stale address leads to a server that answers, and writes nothing. Connections to it must not be kept when there is a better one. */
export const readOnly: BatteryTest = {
  number: 24,
  name: 'read-only',
  mutants: [
    {
      name: 'a connection that cannot write is kept',
      patches: [{ file: 'packages/worker/src/connection.ts', find: " || state === '25006'", replace: '' }],
    },
  ],
  async run(context) {
    const { random, long } = context
    const primary = await context.server()
    const queue = await context.queue(primary)
    const standby = await context.server({ standbyOf: primary })
    const proxy = await startProxy(primary.port)
    context.onEnd(() => proxy.close())
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: 5, maxCrashes: 1_000 }
    // The handlers' own connections are theirs to mend; here they always lead to the primary.
    const start = () => context.worker(queue, { url: proxy.through(queue.url), handlerUrl: queue.url, tasks, options })
    await startCrew(context, 2, start)
    const rounds = long ? 10 : 2
    const resumed: number[] = []
    for (let round = 0; round < rounds; round++) {
      for (const task of tasks) await queue.enqueue(task, works(100, random, 100, round * 200))
      await sleep(random.between(50, 300))
      proxy.retarget(standby.port)
      proxy.cut()
      for (const task of tasks) await queue.enqueue(task, works(100, random, 20, round * 200 + 100))
      await sleep(long ? random.between(1_000, 30_000) : random.between(500, 3_000))
      // What is connected to the standby stays connected: nobody closes it but the worker itself.
      proxy.retarget(primary.port)
      const backAt = now()
      await until('all jobs are done', async () => (await queue.waiting()) === 0)
      const first = queue.readHistory().find(({ kind, at }) => kind === 'started' && at > backAt)
      resumed.push(first ? first.at - backAt : Number.POSITIVE_INFINITY)
    }
    const account = await verify(context, queue)
    const slowest = Math.max(...resumed)
    expectNone([slowest > 10_000 && `Work went on only ${slowest.toFixed(0)} ms after the right server was to be had.`])
    return (
      `${rounds} times on a read-only server; ${account.jobs} jobs in ${account.runs} runs: none lost, effects once; ` +
      `work went on within ${(slowest / 1_000).toFixed(1)} s of the right address`
    )
  },
}
