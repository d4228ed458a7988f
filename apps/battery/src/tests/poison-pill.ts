import { type BatteryTest, expect } from '../battery-test.js'
import { startCrew } from '../crew.js'
import type { Work } from '../programs/worker.js'
import { type TestContext, until } from '../test-context.js'
import { verify } from '../verify.js'
import type { ProcessOptions } from '../worker-process.js'

/** A job that takes its worker down is put away after three of them, and not one of its neighbours with it. */
export const poisonPill: BatteryTest = {
  number: 9,
  name: 'poison-pill',
  mutants: [
    {
      name: 'crashes are not counted',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'in (select id from lost where alone) then 1 else 0',
          replace: 'in (select id from lost where alone) then 0 else 0',
        },
      ],
    },
  ],
  async run(context) {
    const neighbours = context.long ? 10_000 : 1_000
    const first = await poison(context, 'finish', { deed: 'kill' }, neighbours)
    const second = await poison(context, 'transactional', { deed: 'kill' }, neighbours)
    return `at-least-once: ${first}; transactional: ${second}`
  },
}

const MAX_CRASHES = 3

/** Puts one bad job among good ones, replaces the workers that it takes down, and answers what that did. */
export async function poison(
  context: TestContext,
  task: 'finish' | 'transactional',
  pill: Pick<Work, 'deed'>,
  neighbours: number,
  options: ProcessOptions = {},
): Promise<string> {
  const queue = await context.queue()
  const place = context.random.between(0, 30)
  const jobs: Work[] = Array.from({ length: neighbours + 1 }, (_, n) => (n === place ? { n, ...pill } : { n }))
  await queue.enqueue(task, jobs)
  const start = () =>
    context.worker(queue, { tasks: [task], options: { concurrency: 4, maxCrashes: MAX_CRASHES } }, options)
  const from = performance.now()
  await startCrew(context, 2, start)
  await until('every job is done', async () => (await queue.waiting()) === 0, 60_000, 50)
  const seconds = ((performance.now() - from) / 1_000).toFixed(1)
  await verify(context, queue, { buried: (job) => job.task === task && job.n === place })
  const [dead] = await queue.rows('select reason, crash_count from pgq.dead_jobs')
  expect(dead?.reason === 'crashed', `The bad job is among the dead letters for ${dead?.reason}.`)
  expect(dead.crash_count === MAX_CRASHES, `The bad job was put away after ${dead.crash_count} crashes.`)
  const hurt = await queue.value<number>('select count(distinct n)::integer from effects where crashes > 0')
  return `put away after ${dead.crash_count} crashes, ${neighbours} neighbours done in ${seconds} s (${hurt} after a crash)`
}
