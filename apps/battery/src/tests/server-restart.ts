import { setTimeout as sleep } from 'node:timers/promises'
import { startProxy, type TcpProxy } from '@pgq/test-db'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { findRepeats } from '../check-history.js'
import { startCrew } from '../crew.js'
import { now } from '../history.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'

const RUN_MS = 3_000
/** How much later than the others one worker comes back to a server that restarted, and to one that went on. */
const [LATE_MS, LATE_AFTER_CUT_MS] = [2_500, 400]

/** The server restarts, or the network drops every connection, while the workers live: their jobs are theirs still. */
export const serverRestart: BatteryTest = {
  number: 13,
  name: 'server-restart',
  waits: true,
  mutants: [
    {
      name: 'who comes back first judges those that are still on their way',
      patches: [
        {
          file: 'packages/worker/src/rescuer.ts',
          find: 'if (performance.now() < this.#judgesFrom) {',
          replace: 'if (performance.now() < 0) {',
        },
      ],
    },
    {
      name: 'who has known one server for long judges on the next as soon',
      patches: [
        {
          file: 'packages/worker/src/rescuer.ts',
          find: 'performance.now() > this.#settledAt ? this.#epoch',
          replace: "performance.now() > this.#settledAt ? 'any'",
        },
        {
          file: 'packages/worker/src/rescuer.ts',
          find: 'if (epoch !== this.#epoch) {',
          replace: 'if (this.#epoch === null) {',
        },
      ],
    },
  ],
  async run(context) {
    const server = await context.server()
    const [proxy, late] = [await startProxy(server.port), await startProxy(server.port)]
    context.onEnd(() => Promise.all([proxy.close(), late.close()]))
    const queue = await context.queue(server)
    const options = { concurrency: 4, leaseMs: 3_000 }
    const tasks = ['plain', 'finish'] as const
    const start = (by: TcpProxy, more = {}) =>
      context.worker(queue, { url: by.through(queue.url), tasks, options, ...more })
    await startCrew(context, 2, () => start(proxy))
    await startCrew(context, 1, () => start(late, { handlerUrl: queue.url }))
    const restart = async (stop: 'fast' | 'kill') => {
      late.pause()
      await server.restart(stop)
      await sleep(LATE_MS)
      late.resume()
    }
    const cut = async () => {
      late.pause()
      proxy.cut()
      late.cut()
      await sleep(LATE_AFTER_CUT_MS)
      late.resume()
    }
    const rounds = context.long ? 10 : 1
    const outageMs = context.long ? 60_000 : 8_000
    let n = 0
    for (let round = 0; round < rounds; round++) {
      await duringRuns(context, queue, n++, RUN_MS, () => restart('fast'))
      await duringRuns(context, queue, n++, RUN_MS, () => restart('kill'))
      await duringRuns(context, queue, n++, RUN_MS, cut)
    }
    // Longer than the lease: everybody's heartbeat is old when the server is back.
    let backAt = 0
    await duringRuns(context, queue, n++, outageMs + 3_000, async () => {
      await server.restart('fast', () => sleep(outageMs))
      backAt = now()
      await queue.enqueue('plain', [{ n: 999_999 }])
    })
    const { jobs, runs, crashed, history } = await verify(context, queue)
    const next = history.find((event) => event.kind === 'started' && event.at > backAt)
    const resumedMs = next ? next.at - backAt : Number.POSITIVE_INFINITY
    // A handler that wanted to write while there was no server failed, and tries again.
    const repeats = findRepeats(history).length
    expectNone([
      crashed > 0 && `${crashed} jobs were taken from workers that lived.`,
      repeats > 0 && `${repeats} jobs ran again although their handlers had not failed.`,
      resumedMs > 5_000 && `The first start came ${resumedMs.toFixed(0)} ms after the server was back.`,
    ])
    return (
      `${2 * rounds} restarts, one worker back ${LATE_MS} ms after the others, ${rounds} cuts of all connections, one outage of ${outageMs / 1_000} s: ` +
      `${jobs} running jobs in ${runs} runs, none taken from its worker; work goes on ${resumedMs.toFixed(0)} ms after the server is back`
    )
  },
}

/** Does it while jobs run, and waits until they are done. */
async function duringRuns(
  context: TestContext,
  queue: TestQueue,
  round: number,
  ms: number,
  disturb: () => unknown,
): Promise<void> {
  const jobs = (from: number) => Array.from({ length: 6 }, (_, index) => ({ n: from + index, ms }))
  await queue.enqueue('plain', jobs(round * 20))
  await queue.enqueue('finish', jobs(round * 20 + 10))
  await sleep(500 + context.random.between(0, 500))
  const running = await queue.value<number>("select count(*)::integer from pgq.job_states where state = 'running'")
  expect(running > 0, 'No job was running.')
  // A claim does not wait for the disk: a server that is killed might forget it, and the job would run again.
  await queue.rows('checkpoint')
  await disturb()
  await until('the jobs are done', async () => (await queue.waiting()) === 0)
}
