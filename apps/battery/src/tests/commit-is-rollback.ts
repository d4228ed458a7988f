import { type BatteryTest, expectNone } from '../battery-test.js'
import { verify } from '../verify.js'

/** PostgreSQL answers a COMMIT of a failed transaction with ROLLBACK, and no error: a job must not take that for success. */
export const commitIsRollback: BatteryTest = {
  number: 19,
  name: 'commit-is-rollback',
  mutants: [
    {
      name: 'the answer to COMMIT is not read, nor the state of the transaction',
      patches: [
        { file: 'packages/worker/src/run-job.ts', find: 'this.claim.isSpoiled?.()', replace: 'false' },
        {
          file: 'packages/worker/src/delivery/transactional.ts',
          find: "for (const answer of answers) if (answer.status === 'rejected') throw answer.reason",
          replace: '',
        },
      ],
    },
  ],
  async run(context) {
    const count = context.long ? 2_000 : 60
    const queue = await context.queue()
    const worker = context.worker(queue, { tasks: ['transactional', 'finish'] })
    await worker.heard('ready')
    const jobs = Array.from({ length: count }, (_, n) => ({ n, deed: 'swallow-sql-error' as const }))
    await queue.enqueue('transactional', jobs)
    await queue.enqueue('finish', jobs)
    await verify(context, queue)
    const attempts = await queue.rows(
      'select task, min(attempt) as first, max(attempt) as last from effects group by 1',
    )
    expectNone(
      attempts.map(({ task, first, last }) =>
        first !== 2 || last !== 2 ? `${task}: effects of attempts ${first} to ${last} instead of 2.` : false,
      ),
    )
    return `${count} jobs each of transactional and finish() whose first commit was a rollback: failed, run again, effects once`
  },
}
