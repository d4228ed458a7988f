import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { now } from '../history.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'
import { TERMINATE } from './terminate-backend.js'

/** Others take every connection that the server allows, and hold them; the workers lost theirs, and must come back by themselves. */
export const connectionExhaustion: BatteryTest = {
  number: 41,
  name: 'connection-exhaustion',
  mutants: [
    {
      name: 'a connection that could not be opened is not tried again',
      patches: [
        {
          file: 'packages/worker/src/connection.ts',
          find: 'if (this.#client === opening) this.#client = undefined',
          replace: '',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const outageMs = long ? 60_000 : 5_000
    const server = await context.server({ settings: { max_connections: 40 } })
    const queue = await context.queue(server)
    const tasks = ['plain', 'finish', 'transactional'] as const
    const start = () =>
      context.worker(queue, {
        tasks: [...tasks],
        tell: ['database.lost', 'database.restored'],
        options: { concurrency: 3, maxCrashes: 1_000 },
      })
    const crew = [start(), start()]
    await Promise.all(crew.map((worker) => worker.heard('ready')))
    for (const task of tasks) await queue.enqueue(task, works(150, random, 30))
    await sleep(300)
    const hoard = await takeAll(context, queue)
    const held = hoard.size
    // On a connection that the test holds.
    await queue.enqueue('plain', works(100, random, 30, 1_000))
    await hoard.keep(outageMs)
    expect(
      crew.every(({ isRunning }) => isRunning),
      'A worker ended.',
    )
    await hoard.release()
    const backAt = now()
    const { jobs, runs, history } = await verify(context, queue)
    const next = history.find((event) => event.kind === 'started' && event.at > backAt)
    const resumedMs = next ? next.at - backAt : Number.POSITIVE_INFINITY
    const lost = crew.map(({ told }) => told.filter(([event]) => event === 'database.lost').length)
    expectNone([
      resumedMs > 5_000 && `The first start came ${resumedMs.toFixed(0)} ms after there were connections again.`,
      lost.some((times) => times === 0 || times > 10) && `database.lost was told ${lost.join(' and ')} times.`,
    ])
    return (
      `${held} connections held for ${outageMs / 1_000} s, none left for two workers: ${jobs} jobs in ${runs} runs, none lost; ` +
      `work goes on ${resumedMs.toFixed(0)} ms after; each worker told of it ${lost.join(' and ')} times`
    )
  },
}

/** Takes every connection there is, the workers' too, and gives none back before release(). */
async function takeAll(context: TestContext, queue: TestQueue) {
  const held = new Set<pg.Client>()
  let [over, refused] = [false, 0]
  const grab = async (): Promise<boolean> => {
    const client = new pg.Client(queue.url)
    client.on('error', () => {})
    try {
      await client.connect()
      if (over) await client.end()
      else held.add(client)
      return true
    } catch {
      refused += 1
      return false
    }
  }
  const hunters = Array.from({ length: 8 }, async () => {
    while (!over) if (!(await grab())) await sleep(2)
  })
  const release = async () => {
    over = true
    await Promise.all(hunters)
    await Promise.all([...held].map((client) => client.end().catch(() => {})))
  }
  context.onEnd(release)
  const workersConnections = () =>
    queue.value<number>(`select count(*)::integer from pg_stat_activity where application_name = 'pgq worker'`)
  const takeFromWorkers = () => queue.value(TERMINATE, [100, context.random.next()])
  await until('the server refuses connections', () => refused > 0)
  await until('the workers have no connection left', async () => {
    await takeFromWorkers()
    return (await workersConnections()) === 0
  })
  return {
    get size() {
      return held.size
    },
    /** Whatever a worker gets hold of meanwhile is taken, too. */
    async keep(ms: number) {
      for (const end = performance.now() + ms; performance.now() < end; ) {
        await takeFromWorkers()
        await sleep(20)
      }
    },
    release,
  }
}
