import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { type BatteryTest, CheckFailed, expectNone } from '../battery-test.js'
import { percentile } from '../percentile.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const NOISE = `
  select pg_notify('noise_' || i % 10, repeat('x', 500)), pg_notify('pgq_pgq_workers', i::text),
    pg_notify('pgq_pgq_' || i % 10, i::text)
  from generate_series(1, 50) as i`

/** Others notify without end, on channels of their own and on the workers'; then the server's queue of notifications is full. */
export const notifyFlood: BatteryTest = {
  number: 39,
  name: 'notify-flood',
  mutants: [
    {
      name: 'a worker that starts tells the others, whether or not it can',
      patches: [
        {
          file: 'packages/core/src/workers.ts',
          find: 'case when pg_notification_queue_usage() < 0.9',
          replace: 'case when true',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    // 64 pages are half a megabyte: full within a second.
    const server = await context.server({ settings: { max_notify_queue_pages: 64 } })
    const queue = await context.queue(server)
    const tasks = ['plain', 'transactional'] as const
    const start = () => context.worker(queue, { tasks: [...tasks], options: { concurrency: 4 } })
    const crew = [start(), start()]
    await Promise.all(crew.map((worker) => worker.heard('ready')))
    const notifications = await flood(context, queue, long ? 600_000 : 4_000)
    const drain = await fill(context, queue)
    const enqueues: number[] = []
    for (let n = 100_000; n < 100_020; n++) {
      const from = performance.now()
      for (const task of tasks) await queue.enqueue(task, [{ n }]).catch(refused)
      enqueues.push(performance.now() - from)
      await sleep(random.between(0, 50))
    }
    await queue.enqueue('plain', works(50, random, 200, 200_000))
    await sleep(200)
    crew[0]!.kill('SIGKILL')
    await start().heard('ready').catch(refused)
    const { jobs, runs } = await verify(context, queue)
    await drain()
    return (
      `${notifications} notifications of others in between, then a full queue of them: ${jobs} jobs in ${runs} runs, none lost; ` +
      `a worker killed and one started meanwhile; two enqueues p99 ${percentile(enqueues, 0.99).toFixed(0)} ms`
    )
  },
}

const refused = (error: Error) => {
  throw new CheckFailed([`With a full queue of notifications: ${error.message}.`])
}

/** Jobs, while others notify as fast as they can. */
async function flood(context: TestContext, queue: TestQueue, ms: number): Promise<number> {
  const end = performance.now() + ms
  let sent = 0
  const noisy = Array.from({ length: 2 }, async () => {
    const client = await connect(context, queue)
    for (; performance.now() < end; sent += 150) await client.query(NOISE).catch(() => sleep(5))
  })
  const waits: number[] = []
  for (let n = 0; performance.now() < end; n++) {
    const from = performance.now()
    await queue.enqueue(context.random.pick(['plain', 'transactional']), [{ n }])
    await until('the job is done', async () => (await queue.waiting()) === 0)
    waits.push(performance.now() - from)
  }
  await Promise.all(noisy)
  const p50 = percentile(waits, 0.5)
  expectNone([p50 > 1_000 && `Under the flood half of the jobs took more than ${p50.toFixed(0)} ms.`])
  return sent
}

/** Fills the server's queue of notifications, and keeps it full until the answer is called: somebody listens, and does not come to hear. */
async function fill(context: TestContext, queue: TestQueue): Promise<() => Promise<unknown>> {
  const deaf = await connect(context, queue)
  await deaf.query('listen noise_0')
  await deaf.query('begin')
  await deaf.query('select 1')
  const client = await connect(context, queue)
  await until('the queue of notifications is full', () =>
    client.query(NOISE).then(
      () => false,
      (error) => /too many notifications/.test(error.message),
    ),
  )
  // What is left at the end takes small ones still.
  await until(
    'nothing fits any more',
    () =>
      client.query('notify noise_0').then(
        () => false,
        () => true,
      ),
    30_000,
    0,
  )
  return () => deaf.query('commit')
}

async function connect(context: TestContext, queue: TestQueue): Promise<pg.Client> {
  const client = new pg.Client(queue.url)
  client.on('error', () => {})
  await client.connect()
  context.onEnd(() => client.end())
  return client
}
