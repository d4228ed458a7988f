import { setTimeout as sleep } from 'node:timers/promises'
import { enqueueMany } from '@pgq/core'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { percentile } from '../percentile.js'
import type { TaskName } from '../programs/worker.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const BURST = 12

/** Jobs that come in the very moments in which the worker falls asleep; it polls so seldom that a ring which is lost is seen. */
export const lostWakeUp: BatteryTest = {
  number: 17,
  name: 'lost-wake-up',
  mutants: [
    {
      name: 'behind a doorbell that hangs, the next look is the next poll',
      patches: [
        {
          file: 'packages/worker/src/caretaker.ts',
          find: 'const ms = Math.min(found ? FIRST_POLL_MS : this.#pollMs, longestMs)',
          replace: 'const ms = longestMs',
        },
      ],
    },
  ],
  async run(context) {
    const { random } = context
    const rounds = context.long ? 10_000 : 250
    const queue = await context.queue()
    const tasks = ['plain', 'transactional'] as const
    const worker = context.worker(queue, { tasks, options: { pollMs: 600_000, concurrency: 5 } })
    await worker.heard('ready')
    const waits: number[] = []
    let n = 0
    for (let round = 0; round < rounds; round++) {
      const task = random.pick(tasks)
      // A busy worker takes its doorbell down; soon after the last of these jobs it hangs it up again, and sleeps.
      await queue.enqueue(task, works(BURST, random, 2, n))
      n += BURST
      // Every second one is of a transaction that found no doorbell, and commits when the next one hangs: it rings nobody.
      const late = round % 2 ? await begin(queue, task, n) : undefined
      await worker.heard('run', n)
      await sleep(random.next() < 0.3 ? 0 : random.between(0, 6))
      const from = performance.now()
      await (late ? late.commit() : queue.enqueue(task, [{ n }]))
      n += 1
      await worker.heard('run', n, 60_000)
      waits.push(performance.now() - from)
    }
    await verify(context, queue)
    const [p99, slowest] = [percentile(waits, 0.99), Math.max(...waits)]
    // A busy machine may hold up a few of them; a ring that is lost costs a poll, ten minutes.
    expectNone([
      p99 > 1_000 && `Of a hundred jobs one started only ${p99.toFixed(0)} ms after it was enqueued.`,
      slowest > 10_000 && `A job started only ${slowest.toFixed(0)} ms after it was enqueued.`,
    ])
    return (
      `${rounds} jobs at bad moments: p50 ${percentile(waits, 0.5).toFixed(1)} ms, ` +
      `p99 ${p99.toFixed(1)} ms, slowest ${slowest.toFixed(0)} ms`
    )
  },
}

/** Enqueues job n in a transaction that stays open until it is told. */
async function begin(queue: TestQueue, task: TaskName, n: number) {
  const client = await queue.pool.connect()
  await client.query('begin')
  await enqueueMany(client, task, [{ args: { n } }])
  return {
    async commit() {
      await client.query('commit')
      client.release()
      queue.note({ kind: 'acknowledged', task, n })
    },
  }
}
