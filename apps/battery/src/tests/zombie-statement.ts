import { type BatteryTest, expect } from '../battery-test.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'

const SLEEP_MS = 3_000

/** A statement that a killed worker left running in the server: it must be gone before its job runs again, and soon. */
export const zombieStatement: BatteryTest = {
  number: 7,
  name: 'zombie-statement',
  waits: true,
  mutants: [
    {
      name: 'the server does not look whether the client is still there',
      patches: [
        {
          file: 'packages/worker/src/session.ts',
          find: "set client_connection_check_interval = '500ms';",
          replace: '',
        },
      ],
    },
  ],
  async run(context) {
    const rounds = context.long ? 20 : 4
    const queue = await context.queue()
    const start = () => context.worker(queue, { tasks: ['transactional'], tell: ['workers.rescued'] })
    let worker = start()
    await worker.heard('ready')
    let slowestMs = 0
    for (let n = 0; n < rounds; n++) {
      await queue.enqueue('transactional', [{ n, ms: SLEEP_MS, deed: 'sleep-in-sql' }])
      const running = await until('the statement runs', () => queue.value<number>(SLEEPING))
      const next = start()
      await next.heard('ready')
      worker.kill('SIGKILL')
      const killedAt = performance.now()
      await until('the statement runs again', async () => {
        const pids = await queue.rows(`${SLEEPING} and pid <> $1`, [running])
        const zombie = await queue.rows(`${SLEEPING} and pid = $1`, [running])
        expect(!(pids.length > 0 && zombie.length > 0), 'The job ran again beside the statement of its dead worker.')
        return pids.length > 0
      })
      slowestMs = Math.max(slowestMs, performance.now() - killedAt)
      worker = next
      await until('the job is done', async () => (await queue.waiting()) === 0)
    }
    await verify(context, queue, { noOverlap: true })
    expect(slowestMs < 2_000, `The job ran again only ${slowestMs.toFixed(0)} ms after the kill.`)
    return `${rounds} kills amid a ${SLEEP_MS} ms statement; it never outlived the rescue; run again within ${slowestMs.toFixed(0)} ms`
  },
}

const SLEEPING = `select pid from pg_stat_activity
  where datname = current_database() and state = 'active' and query like 'select pg_sleep(%'`
