import { setTimeout as sleep } from 'node:timers/promises'
import type { BatteryTest } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** What the handler writes and the end of its job are one transaction: kill -9 undoes both, and effects happen exactly once. */
export const kill9Transactional: BatteryTest = {
  number: 1,
  name: 'kill9-transactional',
  mutants: [
    {
      name: 'the rescue does not ask what was committed',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'where job.ordinal <> all (lease.done || lease.finished)',
          replace: 'where job.ordinal <> all (lease.done)',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const [jobs, kills] = long ? [20_000, 200] : [1_000, 15]
    await queue.enqueue('transactional', works(jobs, random, 40))
    const start = () =>
      context.worker(queue, { tasks: ['transactional'], options: { concurrency: 4, maxCrashes: 1_000 } })
    const crew = await startCrew(context, 3, start)
    for (let kill = 0; kill < kills; kill++) {
      await sleep(random.between(20, 250))
      ;(await crew.pick()).kill('SIGKILL')
      if (kill % 5 === 4) await queue.enqueue('transactional', works(100, random, 40, jobs + kill * 100))
    }
    const account = await verify(context, queue, { noOverlap: true })
    return `${kills} kills; ${account.jobs} jobs in ${account.runs} runs: effects once each, none lost, no overlap`
  },
}
