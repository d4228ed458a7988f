import { setTimeout as sleep } from 'node:timers/promises'
import { type PostgresServer, startProxy } from '@pgq/test-db'
import pg from 'pg'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { findRepeats } from '../check-history.js'
import { startCrew } from '../crew.js'
import { now } from '../history.js'
import { until } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** The primary dies, its synchronous standby is promoted and gets its address: what was acknowledged is there. */
export const failover: BatteryTest = {
  number: 23,
  name: 'failover',
  mutants: [
    {
      name: 'at-most-once claims do not wait for the standby',
      patches: [
        {
          file: 'packages/worker/src/worker.ts',
          find: "modes.includes('at-most-once') ? ",
          replace: 'modes.length > 99 ? ',
        },
      ],
    },
    {
      name: 'a server that was promoted is taken for the one that was known',
      patches: [
        { file: 'packages/core/src/rescue.ts', find: 'worker.epoch = ${serverEpoch}', replace: 'true' },
        {
          file: 'packages/worker/src/rescuer.ts',
          find: 'if (performance.now() < this.#judgesFrom) {',
          replace: 'if (performance.now() < 0) {',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const failovers = long ? 10 : 2
    let primary = await context.server()
    const proxy = await startProxy(primary.port)
    context.onEnd(() => proxy.close())
    const queue = await context.queue({ url: proxy.through(primary.url) })
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: 6, maxCrashes: 1_000 }
    const crew = await startCrew(context, 3, () => context.worker(queue, { tasks, options }))
    let [next, refused] = [0, 0]
    const lasting = new Set<number>()
    const resumed: number[] = []
    for (let failure = 0; failure < failovers; failure++) {
      const standby = await context.server({ standbyOf: primary })
      await run(primary, "alter system set synchronous_standby_names = '*'")
      await run(primary, 'select pg_reload_conf()')
      await until('the standby is synchronous', () => run(primary, IS_SYNCHRONOUS))
      // Is under way when it happens, and is its worker's still afterwards: the claim is on the standby before what is enqueued later.
      const lasts = next++
      await queue.enqueue('plain', [{ n: lasts, ms: 4_000 }])
      await until('it began', () => queue.readHistory().some(({ kind, n }: any) => kind === 'started' && n === lasts))
      lasting.add(lasts)
      for (const end = performance.now() + random.between(800, 2_000); performance.now() < end; ) {
        for (const task of tasks) {
          await queue.enqueue(task, works(5, random, 40, next)).catch(() => {
            refused += 1
          })
        }
        next += 5
        await sleep(random.between(0, 20))
      }
      // Claimed, begun, and not a word written about it yet.
      const starts = queue.readHistory().filter(({ kind }) => kind === 'started').length
      await queue.enqueue('once', works(30, random, 300, next))
      next += 30
      await until(
        'they began',
        () => queue.readHistory().filter(({ kind }) => kind === 'started').length > starts,
        5_000,
        1,
      )
      await primary.stop(random.pick(['immediate', 'kill']))
      // One comes back when the others have been back for a while: they may not take it for dead.
      const late = random.pick(crew.members)
      late.kill('SIGSTOP')
      // Whoever decides takes their time: handlers that end meanwhile cannot write, fail, and are tried again.
      await sleep(random.between(0, 3_000))
      await run(standby, 'select pg_promote()')
      proxy.retarget(standby.port)
      proxy.cut()
      const promotedAt = now()
      primary = standby
      const begun = () => queue.readHistory().some(({ kind, at }) => kind === 'started' && at > promotedAt)
      await until('the queue answers', () =>
        queue.enqueue('finish', works(1, random, 0, next)).then(
          () => true,
          () => false,
        ),
      )
      next += 1
      await until('work goes on', begun)
      resumed.push(now() - promotedAt)
      await sleep(Math.max(promotedAt + LATE_MS - now(), 0))
      late.kill('SIGCONT')
    }
    const account = await verify(context, queue)
    const repeats = findRepeats(account.history).filter(({ n }) => lasting.has(n))
    expectNone([
      account.crashed > 0 && `${account.crashed} jobs were taken from workers that lived.`,
      repeats.length > 0 &&
        `${repeats.length} jobs ran again although their workers lived and their handlers had not failed.`,
    ])
    return (
      `${failovers} failovers; ${account.jobs} acknowledged jobs in ${account.runs} runs, ${refused} calls refused: none lost, ` +
      `effects once; what ran went on; work resumed within ${Math.max(...resumed).toFixed(0)} ms of the promotion`
    )
  },
}

/** How long after the promotion the last worker comes back, in ms: the others have looked for lost ones by then. */
const LATE_MS = 2_500

const IS_SYNCHRONOUS = "select count(*) = 1 from pg_stat_replication where sync_state = 'sync' and state = 'streaming'"

/** The first value that it answers; whatever the session of the queue's pool is busy with. */
async function run({ url }: PostgresServer, sql: string): Promise<any> {
  const client = new pg.Client(url)
  await client.connect()
  try {
    return Object.values((await client.query(sql)).rows[0] ?? {})[0]
  } finally {
    await client.end()
  }
}
