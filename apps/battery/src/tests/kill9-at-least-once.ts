import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expect } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** Handlers that run for so long show whether a transaction is open meanwhile. */
const SLOW_MS = 2_500

/** No transaction is open while handlers run, no job is lost by kill -9, and job.finish makes its effects happen exactly once. */
export const kill9AtLeastOnce: BatteryTest = {
  number: 2,
  name: 'kill9-at-least-once',
  mutants: [
    {
      name: 'the rescue forgets what was finished in a transaction',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'job.ordinal <> all (lease.done || lease.finished)',
          replace: 'job.ordinal <> all (lease.done)',
        },
      ],
    },
    {
      name: 'the jobs of a lost worker are not given back',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: "where crash_count < ${param('maxCrashes')} and id not in",
          replace: 'where crash_count < 0 and id not in',
        },
      ],
    },
    {
      name: 'a transaction stays open while handlers run',
      patches: [
        {
          file: 'packages/worker/src/delivery/lease-mode.ts',
          find: "return claimAs(connection.on(client), { number, transactional: this.name === 'transactional' })",
          // The claim commits, and is found; the one after it ends what this begins.
          replace: `return client.query('commit').then(async () => {
        const claimed = await claimAs(connection.on(client), { number, transactional: this.name === 'transactional' })
        await client.query('begin')
        return claimed
      })`,
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const [jobs, kills] = long ? [20_000, 200] : [1_000, 15]
    await queue.enqueue('plain', works(jobs, random, 40))
    await queue.enqueue('finish', works(jobs, random, 40))
    // Killed between its own commit and the worker's acknowledgement: it is finished all the same.
    const last = Array.from({ length: 6 }, (_, n) => ({ n: jobs + n, deed: 'kill-after-commit' as const }))
    await queue.enqueue('finish', last)
    const start = () =>
      context.worker(queue, { tasks: ['plain', 'finish'], options: { concurrency: 4, maxCrashes: 1_000 } })
    const crew = await startCrew(context, 3, start)
    let openMs = 0
    for (let kill = 0; kill < kills; kill++) {
      await sleep(random.between(20, 250))
      openMs = Math.max(openMs, await longestOpenTransactionMs(queue))
      ;(await crew.pick()).kill('SIGKILL')
    }
    const slow = Array.from({ length: 6 }, (_, n) => ({ n: jobs + last.length + n, ms: SLOW_MS }))
    await queue.enqueue('plain', slow)
    await queue.enqueue('finish', slow)
    const slowAreDone = async () => {
      openMs = Math.max(openMs, await longestOpenTransactionMs(queue))
      return queue.value<boolean>(SLOW_ARE_DONE)
    }
    await until('the slow jobs are done', slowAreDone, 120_000, 100)
    const account = await verify(context, queue, { noOverlap: true })
    expect(openMs < SLOW_MS / 2, `A worker kept a transaction open for ${openMs} ms.`)
    return (
      `${kills} kills; ${account.jobs} jobs in ${account.runs} runs: none lost, no overlap, ` +
      `finish() once each; longest transaction seen ${openMs.toFixed(0)} ms`
    )
  },
}

const SLOW_ARE_DONE = `select not exists (select from pgq.job_states where args->>'ms' = '${SLOW_MS}')`

const longestOpenTransactionMs = async (queue: TestQueue): Promise<number> =>
  Number(
    (await queue.value(
      `select extract(epoch from max(clock_timestamp() - xact_start)) * 1000 from pg_stat_activity
       where application_name like 'pgq%' and state like 'idle in transaction%'`,
    )) ?? 0,
  )
