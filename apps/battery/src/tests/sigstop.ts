import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expect } from '../battery-test.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** A worker that is frozen past its lease loses its jobs; when it thaws, whatever it still does about them counts for nothing. */
export const sigstop: BatteryTest = {
  number: 5,
  name: 'sigstop',
  waits: true,
  mutants: [
    {
      name: 'finish() does not look whether the lease is still there',
      patches: [
        {
          file: 'packages/core/src/finish.ts',
          find: 'if (rows.length === 0) throw new LostLeaseError(jobId)',
          replace: 'void [rows, jobId, LostLeaseError]',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const rounds = long ? 25 : 3
    const options = { concurrency: 6, leaseMs: 1_000, maxCrashes: 1_000 }
    // finish first: these must be under way when the worker freezes.
    const tasks = ['finish', 'plain', 'transactional'] as const
    const start = () => context.worker(queue, { tasks: [...tasks], tell: ['job.lost'], options })
    const crew = [start(), start()]
    await Promise.all(crew.map((worker) => worker.heard('ready')))
    let slowestMs = 0
    for (let round = 0; round < rounds; round++) {
      for (const task of tasks) {
        const jobs = works(40, random, 150, round * 40)
        // These go on when it thaws, whatever they are told, and finish: only the fence is between them and a second effect.
        await queue.enqueue(task, task === 'finish' ? jobs.map((work) => ({ ...work, deed: 'ignore-abort' })) : jobs)
      }
      await sleep(random.between(50, 200))
      const [frozen, other] = round % 2 ? [crew[1]!, crew[0]!] : [crew[0]!, crew[1]!]
      frozen.kill('SIGSTOP')
      const frozenAt = performance.now()
      for (const task of tasks) {
        const left = () => queue.value<number>(LEFT, [task])
        await until(`the other worker does all ${task} jobs`, async () => (await left()) === 0, 15_000, 50)
      }
      slowestMs = Math.max(slowestMs, performance.now() - frozenAt)
      frozen.kill('SIGCONT')
      await until('the thawed worker beats, under its id or a new one', () => queue.value<boolean>(BOTH_BEAT))
      expect(other.isRunning, 'The other worker ended.')
    }
    const account = await verify(context, queue)
    const lost = crew.flatMap(({ told }) => told).filter(([event]) => event === 'job.lost').length
    return (
      `${rounds} freezes past a 1 s lease; ${account.jobs} jobs in ${account.runs} runs, ${lost} fenced; ` +
      `effects once with finish() and transactional; all done at most ${(slowestMs / 1_000).toFixed(1)} s after a freeze`
    )
  },
}

const BOTH_BEAT = "select count(*) = 2 from pgq.workers where beat_at > now() - interval '900 ms'"
/** Without those whose finish() is in a transaction that froze while it was open: nobody may take these. */
const LEFT = `
  with free as materialized (select ids from pgq.leases for update skip locked)
  select count(*)::integer from pgq.job_states
  where state <> 'dead' and task = $1 and (state <> 'running' or id in (select unnest(ids) from free))`
