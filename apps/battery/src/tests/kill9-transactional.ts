import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { checkHistory } from '../check-history.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import { works } from '../works.js'

export const kill9Transactional: BatteryTest = {
  number: 1,
  name: 'kill9-transactional',
  mutants: [
    {
      name: 'the claim commits before the handler starts',
      patches: [
        {
          file: 'packages/worker/src/delivery/transactional.ts',
          find: 'bitmapscan to default; savepoint pgq_handler',
          replace: 'bitmapscan to default; commit; begin; savepoint pgq_handler',
        },
      ],
    },
  ],
  async run({ random, long, history, readHistory, ...context }) {
    const queue = await context.queue()
    const [jobs, kills] = long ? [20_000, 200] : [1_500, 25]
    await queue.enqueue('transactional', works(jobs, random, 40))
    const start = () =>
      context.worker({ url: queue.url, tasks: ['transactional'], options: { concurrency: 4, maxCrashes: 1_000 } })
    const crew = await startCrew(3, random, start)
    for (let kill = 0; kill < kills; kill++) {
      await sleep(random.between(20, 250))
      await crew.killOne()
      if (kill % 5 === 4) await queue.enqueue('transactional', works(100, random, 40, jobs + kill * 100))
    }
    await until('every job is done', async () => (await queue.waiting()) === 0, long ? 600_000 : 60_000, 100)
    const state = await queue.finalState()
    const events = readHistory()
    expectNone(checkHistory(events, state, { noOverlap: true }))
    const runs = events.filter(({ kind }) => kind === 'started').length
    return `${kills} kills; ${state.effects.length} jobs, ${runs} runs; effects once each, none lost, no overlap`
  },
}
