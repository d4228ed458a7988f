import { setTimeout as sleep } from 'node:timers/promises'
import { startProxy } from '@pgq/test-db'
import type { BatteryTest } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import type { TestProcess } from '../worker-process.js'
import { works } from '../works.js'
import { TERMINATE } from './terminate-backend.js'

const LEASE_MS = 1_500

/** Everything at once, in an order that the seed decides. */
export const mixedChaos: BatteryTest = {
  number: 4,
  name: 'mixed-chaos',
  mutants: [
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
  ],
  async run(context) {
    const { random, long } = context
    const server = await context.server()
    const proxy = await startProxy(server.port)
    context.onEnd(() => proxy.close())
    const queue = await context.queue(server)
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: 6, leaseMs: LEASE_MS, maxCrashes: 1_000, graceMs: 500 }
    const crew = await startCrew(context, 4, () =>
      context.worker(queue, { url: proxy.through(queue.url), handlerUrl: queue.url, tasks: [...tasks], options }),
    )
    const frozen = new Set<TestProcess>()
    const pickAwake = (): Promise<TestProcess> =>
      until('a worker is awake', async () => {
        const member = await crew.pick()
        return !frozen.has(member) && member
      })
    const plan = long
      ? { kill: 200, crash: 20, freeze: 50, terminate: 500, cut: 50, stop: 50 }
      : { kill: 8, crash: 2, freeze: 2, terminate: 12, cut: 2, stop: 2 }
    const faults: Record<keyof typeof plan, () => Promise<unknown>> = {
      kill: async () => (await pickAwake()).kill('SIGKILL'),
      stop: async () => (await pickAwake()).kill('SIGTERM'),
      freeze: async () => freeze(await pickAwake(), frozen),
      crash: () => server.restart(random.pick(['immediate', 'kill'])),
      terminate: () => until('a backend is terminated', async () => (await terminate(queue, random.next())) === 1),
      cut: async () => proxy.cut(),
    }
    const kinds = Object.keys(plan) as (keyof typeof plan)[]
    const schedule = shuffle(
      kinds.flatMap((kind) => Array<keyof typeof plan>(plan[kind]).fill(kind)),
      random.next,
    )
    const jobs = long ? 100_000 : 3_000
    const batch = Math.ceil(jobs / schedule.length / tasks.length)
    let [next, refused] = [0, 0]
    for (const kind of schedule) {
      for (const task of tasks) {
        await queue.enqueue(task, works(batch, random, 120, next)).catch(() => {
          refused += 1
        })
      }
      next += batch
      await sleep(random.between(50, 350))
      await faults[kind]()
    }
    await until('the server answers', () =>
      queue.waiting().then(
        () => true,
        () => false,
      ),
    )
    const account = await verify(context, queue)
    const told = kinds.map((kind) => `${plan[kind]} ${LABELS[kind]}`).join(', ')
    return (
      `${told}; ${account.jobs} acknowledged jobs in ${account.runs} runs, ${refused} calls refused: ` +
      `none lost, effects once; ${account.overlaps} runs overlapped another of their job, all fenced`
    )
  },
}

const LABELS = {
  kill: 'kills',
  crash: 'server crashes',
  freeze: 'freezes past the lease',
  terminate: 'terminated backends',
  cut: 'cuts of all connections',
  stop: 'stops',
} as const

/** Past the lease, while the rest goes on. */
function freeze(worker: TestProcess, frozen: Set<TestProcess>): void {
  frozen.add(worker)
  worker.kill('SIGSTOP')
  setTimeout(() => {
    worker.kill('SIGCONT')
    frozen.delete(worker)
  }, LEASE_MS * 2).unref()
}

const terminate = (queue: TestQueue, order: number): Promise<number> =>
  queue.value<number>(TERMINATE, [1, order]).catch(() => 0)

function shuffle<Item>(items: Item[], next: () => number): Item[] {
  for (let last = items.length - 1; last > 0; last--) {
    const other = Math.floor(next() * (last + 1))
    ;[items[last], items[other]] = [items[other]!, items[last]!]
  }
  return items
}
