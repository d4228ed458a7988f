import { setTimeout as sleep } from 'node:timers/promises'
import { startProxy } from '@pgq/test-db'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'

const POLL_MS = 1_000
/** How long a worker sleeps until it looks no more often than it must: 25 ms after it fell asleep, then twice as long each time. */
const CALM_MS = 3_400

/** The listening connection falls silent, without a word to either side; the others live. */
export const halfOpenListener: BatteryTest = {
  number: 16,
  name: 'half-open-listener',
  waits: true,
  mutants: [
    {
      name: 'a worker that sleeps with its doorbell hung does not poll',
      patches: [
        {
          file: 'packages/worker/src/caretaker.ts',
          find: 'this.control.isHung ? this.#sharedPollMs()',
          replace: 'this.control.isHung ? 3_600_000',
        },
      ],
    },
  ],
  async run(context) {
    const rounds = context.long ? 10 : 1
    const queue = await context.queue()
    const proxy = await startProxy(Number(new URL(queue.url).port))
    context.onEnd(() => proxy.close())
    const worker = context.worker(queue, {
      url: proxy.through(queue.url),
      handlerUrl: queue.url,
      tasks: ['plain'],
      tell: ['listener.lost', 'listener.restored', 'job.settled'],
      options: { pollMs: POLL_MS, leaseMs: 10_000 },
    })
    await worker.heard('ready')
    let n = 0
    const startMs = async () => {
      const from = performance.now()
      await queue.enqueue('plain', [{ n }])
      await worker.heard('run', ++n)
      return performance.now() - from
    }
    const waits: number[] = []
    const restored: number[] = []
    for (let round = 1; round <= rounds; round++) {
      await until('the worker sleeps', () => queue.value<boolean>('select count(*) = 1 from pgq.idle_workers'))
      await sleep(CALM_MS)
      const listening = proxy.connections.filter(({ sent }) => /listen "pgq/i.test(sent))
      expect(listening.length === 1, `${listening.length} connections listen.`)
      listening[0]!.pause()
      const from = performance.now()
      while (worker.told.filter(([event]) => event === 'listener.restored').length < round) {
        expect(performance.now() - from < 30_000, 'The listener was not restored within 30 s.')
        waits.push(await startMs())
        await sleep(200)
      }
      restored.push(performance.now() - from)
      await until('the worker sleeps again', () => queue.value<boolean>('select count(*) = 1 from pgq.idle_workers'))
      const afterwards = await startMs()
      expect(afterwards < 500, `A job waited ${afterwards.toFixed(0)} ms although the listener was restored.`)
    }
    await verify(context, queue)
    const slowest = Math.max(...waits)
    expectNone([slowest > POLL_MS + 1_000 && `A job waited ${slowest.toFixed(0)} ms with a poll of ${POLL_MS} ms.`])
    return (
      `${waits.length} jobs meanwhile, the slowest started after ${slowest.toFixed(0)} ms (poll ${POLL_MS} ms); ` +
      `listening again within ${(Math.max(...restored) / 1_000).toFixed(1)} s`
    )
  },
}
