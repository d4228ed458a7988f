import { startProxy, type TcpProxy } from '@pgq/test-db'
import { type BatteryTest, expectNone } from '../battery-test.js'
import type { TaskName } from '../programs/worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import type { TestProcess } from '../worker-process.js'

type Direction = 'toServer' | 'toClient'

/** The connection breaks at every byte of what one job sends and hears, from its claim to its completion. */
export const ambiguousCommit: BatteryTest = {
  number: 18,
  name: 'ambiguous-commit',
  mutants: [
    {
      name: 'a claim whose answer was lost is not read back',
      patches: [
        {
          file: 'packages/worker/src/delivery/lease-mode.ts',
          find: 'this.#doubtful.push({ workerId',
          replace: 'void ({ workerId',
        },
      ],
    },
    {
      name: 'a COMMIT whose answer was lost counts as refused',
      patches: [
        {
          file: 'packages/worker/src/delivery/transactional.ts',
          find: 'const isKept = breaksConnection(error) && (await this.#isCommitted(lease, job))',
          replace: 'const isKept = false',
        },
      ],
    },
  ],
  async run(context) {
    const results: string[] = []
    for (const task of ['plain', 'finish', 'transactional', 'once'] as const)
      results.push(await cutEverywhere(context, task))
    return results.join('; ')
  },
}

async function cutEverywhere(context: TestContext, task: TaskName): Promise<string> {
  const queue = await context.queue()
  const proxy = await startProxy(Number(new URL(queue.url).port))
  context.onEnd(() => proxy.close())
  const worker = context.worker(queue, {
    url: proxy.through(queue.url),
    tasks: [task],
    tell: ['job.settled', 'job.lost'],
    poolSize: 1,
    options: { concurrency: 1 },
  })
  await worker.heard('ready')
  let n = 0
  const runOne = async () => {
    await queue.enqueue(task, [{ n: n++ }])
    await until(`${task} ${n - 1} is done`, async () => (await queue.waiting()) === 0, 30_000, 5)
  }
  // Once to prepare the statements, once to count the bytes.
  for (let times = 0; times < 3; times++) await runOne()
  const sizes = await bytesOf(proxy, runOne)
  let cuts = 0
  for (const direction of ['toServer', 'toClient'] as const) {
    for (const byte of bytesToCut(context, sizes[direction])) {
      proxy.cutAfter(byte, direction)
      await runOne()
      cuts += 1
    }
  }
  // The server has committed, and the worker never hears of it.
  for (let times = 0; times < 5 && (task === 'finish' || task === 'transactional'); times++) {
    proxy.cutBefore('COMMIT', 'toClient')
    await runOne()
    cuts += 1
  }
  await verify(context, queue)
  // The last answer was lost, too: the worker has to ask before it can tell.
  await until('each is told', async () => toldOnce(task, n, worker).length === 0, 30_000).catch(() => {})
  expectNone(toldOnce(task, n, worker))
  worker.kill('SIGTERM')
  await worker.ended
  return `${task}: ${cuts} cuts in ${sizes.toServer} + ${sizes.toClient} bytes${task === 'once' ? ` (${await lost(queue, n)} lost, as promised)` : ''}`
}

async function bytesOf(proxy: TcpProxy, work: () => Promise<void>): Promise<Record<Direction, number>> {
  const before = { ...proxy.passed }
  await work()
  return { toServer: proxy.passed.toServer - before.toServer, toClient: proxy.passed.toClient - before.toClient }
}

/** All of them; in the short form 25, spread evenly, so that no message of some size is passed over. */
function bytesToCut({ long, random }: TestContext, size: number): number[] {
  const step = long ? 1 : size / 25
  const first = random.between(1, Math.ceil(step))
  return Array.from({ length: Math.floor(size / step) }, (_, index) => Math.min(first + Math.floor(index * step), size))
}

/** Each job is reported as completed exactly once: an answer that was lost is found out, not guessed. */
function toldOnce(task: TaskName, jobs: number, worker: TestProcess): string[] {
  if (task === 'once') return []
  const done = worker.told.filter(
    ([event, { settlement }]) => event === 'job.settled' && settlement.kind === 'complete',
  )
  return done.length === jobs ? [] : [`${done.length} completions of ${task} were told for ${jobs} jobs.`]
}

const lost = async (queue: TestQueue, jobs: number): Promise<number> =>
  jobs - (await queue.value<number>('select count(*)::integer from effects'))
