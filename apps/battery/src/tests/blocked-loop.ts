import { type BatteryTest, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** A handler that computes for longer than the lease, without a pause: its worker is alive, and nobody takes its jobs. */
export const blockedLoop: BatteryTest = {
  number: 28,
  name: 'blocked-loop',
  waits: true,
  mutants: [
    {
      name: 'nobody beats for a blocked loop',
      patches: [
        {
          file: 'packages/worker/src/stand-in.ts',
          find: 'if (options.maxBlockedMs === 0) return',
          replace: 'if (options.maxBlockedMs >= 0) return',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    // A lease of a second is too short here: on two busy cores a thread may need as long to load its client and connect.
    const [leaseMs, blockMs] = long ? [10_000, 60_000] : [3_000, 9_000]
    const queue = await context.queue()
    const tasks = ['plain', 'finish', 'transactional'] as const
    const options = { leaseMs, concurrency: 4, maxCrashes: 1_000 }
    const crew = await startCrew(context, 3, () =>
      context.worker(queue, { tasks, options, tell: ['worker.replaced', 'job.lost'] }),
    )
    const rounds = long ? 3 : 1
    for (let round = 0; round < rounds; round++) {
      for (const [place, task] of tasks.entries()) {
        const first = round * 1_000 + place * 100
        // Beside it wait and run others of the same worker: all of them are its own until it goes on.
        await queue.enqueue(task, [{ n: first, ms: blockMs, deed: 'block' }, ...works(30, random, 50, first + 1)])
      }
      await until('all jobs are done', async () => (await queue.waiting()) === 0, blockMs * 4)
    }
    const account = await verify(context, queue, { noOverlap: true })
    const told = crew.members.flatMap((member) => member.told)
    const counted = (event: string) => told.filter(([name]) => name === event).length
    expectNone([
      account.runs > account.jobs && `${account.runs - account.jobs} jobs ran twice.`,
      counted('worker.replaced') > 0 && `${counted('worker.replaced')} living workers were taken for dead.`,
      counted('job.lost') > 0 && `${counted('job.lost')} jobs were lost to others.`,
    ])
    return (
      `${rounds * tasks.length} event loops blocked for ${blockMs / 1_000} s with a lease of ${leaseMs / 1_000} s: ` +
      `${account.jobs} jobs, each ran once`
    )
  },
}
