import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { percentile } from '../percentile.js'
import { verify } from '../verify.js'

/** Jobs that come in the very moments in which the worker falls asleep; it polls so seldom that a ring which is lost is seen. */
export const lostWakeUp: BatteryTest = {
  number: 17,
  name: 'lost-wake-up',
  mutants: [
    {
      name: 'the worker does not look once more after it hung up its doorbell',
      patches: [
        {
          file: 'packages/worker/src/worker.ts',
          find: 'if (await this.#control.hang()) this.#lookAgain()',
          replace: 'if (await this.#control.hang()) void 0',
        },
      ],
    },
  ],
  async run(context) {
    const rounds = context.long ? 20_000 : 700
    const queue = await context.queue()
    const worker = context.worker(queue, {
      tasks: ['plain', 'transactional'],
      tell: ['job.settled'],
      options: { pollMs: 600_000 },
    })
    await worker.heard('ready')
    const waits: number[] = []
    for (let n = 0; n < rounds; n++) {
      const from = performance.now()
      await queue.enqueue(context.random.pick(['plain', 'transactional']), [{ n }])
      await worker.heard('run', n + 1, 60_000)
      waits.push(performance.now() - from)
      await worker.heard('job.settled', n + 1)
      // What the worker does until it sleeps takes it a few milliseconds.
      await sleep(context.random.next() < 0.5 ? 0 : context.random.between(0, 12))
    }
    await verify(context, queue)
    const slowest = Math.max(...waits)
    expectNone([slowest > 1_000 && `A job started only ${slowest.toFixed(0)} ms after it was enqueued.`])
    return (
      `${rounds} jobs at bad moments: p50 ${percentile(waits, 0.5).toFixed(1)} ms, ` +
      `p99 ${percentile(waits, 0.99).toFixed(1)} ms, slowest ${slowest.toFixed(0)} ms`
    )
  },
}
