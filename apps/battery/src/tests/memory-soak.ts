import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone } from '../battery-test.js'
import type { Holds } from '../programs/cycles.js'
import type { TestContext } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const MB = 1_048_576
const COLLECT = ['--expose-gc', '--max-semi-space-size=2']

/** A worker that works on and on, and one that is started and stopped again and again, do not grow. */
export const memorySoak: BatteryTest = {
  number: 40,
  name: 'memory-soak',
  mutants: [
    {
      name: 'a stopped worker still listens for signals',
      patches: [{ file: 'packages/worker/src/worker.ts', find: '    this.#forgetSignals()\n', replace: '' }],
    },
    {
      name: 'a job is kept after its end',
      patches: [
        {
          file: 'packages/worker/src/run-job.ts',
          find: 'const HEED_MS = 1_000\n',
          replace: 'const HEED_MS = 1_000\nconst KEPT: unknown[] = []\n',
        },
        {
          file: 'packages/worker/src/run-job.ts',
          find: '    this.#isRunning = true\n',
          replace: '    this.#isRunning = true\n    KEPT.push(this)\n',
        },
      ],
    },
  ],
  async run(context) {
    const worked = await work(context)
    const cycled = await cycle(context)
    return `${worked}; ${cycled}`
  },
}

/** Bytes of heap that a job may leave behind. A kept job would be some 500; in the short form the last of the warming up weighs 30. */
const [HEAP_PER_JOB, HEAP_PER_JOB_LONG] = [80, 2]

async function work(context: TestContext): Promise<string> {
  const { random, long } = context
  const queue = await context.queue()
  const tasks = ['plain', 'transactional', 'once'] as const
  const worker = context.worker(queue, { tasks: [...tasks], options: { concurrency: 10 } }, { nodeArgs: COLLECT })
  await worker.heard('ready')
  const rounds = long ? 400 : 11
  const batch = long ? 1_000 : 400
  const samples: { jobs: number; heapUsed: number; rss: number }[] = []
  let jobs = 0
  for (let round = 0; round < rounds; round++) {
    for (const task of tasks) await queue.enqueue(task, works(batch, random, 0, jobs))
    jobs += batch
    while ((await queue.waiting()) > 0) await sleep(20)
    worker.send('memory')
    samples.push({ jobs: jobs * tasks.length, ...(await worker.heard('memory', round + 1)) })
  }
  await verify(context, queue)
  // What was compiled, pooled and cached at the start is no leak.
  const later = samples.slice(Math.floor(samples.length / 3))
  const perJob = slope(later.map(({ jobs, heapUsed }) => [jobs, heapUsed]))
  const rss = (later.at(-1)!.rss - later[0]!.rss) / MB
  expectNone([
    perJob > (long ? HEAP_PER_JOB_LONG : HEAP_PER_JOB) && `Each job leaves ${perJob.toFixed(0)} bytes of heap behind.`,
    rss > 20 && `The process grew by ${rss.toFixed(0)} MB.`,
  ])
  return `${jobs * tasks.length} jobs: heap ${perJob.toFixed(1)} bytes a job, RSS ${signed(rss)} MB`
}

async function cycle(context: TestContext): Promise<string> {
  const cycles = context.long ? 10_000 : 100
  const every = cycles / 10
  const queue = await context.queue()
  const program = context.program('cycles', { url: queue.url, cycles, every }, { nodeArgs: COLLECT })
  await program.heard('done', 1, context.long ? 7_200_000 : 120_000)
  const all = program.told.flatMap(([event, fields]) => (event === 'holds' ? [fields as Holds] : []))
  const later = all.slice(3)
  const [first, last] = [later[0]!, later.at(-1)!]
  const perCycle = slope(later.map(({ cycle, heapUsed }) => [cycle, heapUsed]))
  const rss = (last.rss - first.rss) / MB
  const left = await queue.value<number>('select count(*)::integer from pgq.workers')
  expectNone([
    // Also what is compiled in the first few hundred: from then on the line is flat.
    perCycle > (context.long ? 200 : 6_000) &&
      `Each start and stop leaves ${perCycle.toFixed(0)} bytes of heap behind.`,
    last.handles > first.handles && `${first.handles} open handles became ${last.handles}.`,
    last.listeners > first.listeners && `${first.listeners} listeners of the process became ${last.listeners}.`,
    rss > 20 && `The process grew by ${rss.toFixed(0)} MB.`,
    left > 0 && `${left} workers are still in the list.`,
  ])
  return (
    `${cycles} starts and stops: heap ${perCycle.toFixed(0)} bytes each, RSS ${signed(rss)} MB, ` +
    `${last.handles} handles and ${last.listeners} listeners from first to last`
  )
}

const signed = (value: number): string => `${value >= 0 ? '+' : ''}${value.toFixed(1)}`

/** The slope of the line through the points that has the least squares. */
function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (pick: 0 | 1) => points.reduce((sum, point) => sum + point[pick], 0) / points.length
  const [x, y] = [mean(0), mean(1)]
  const above = points.reduce((sum, point) => sum + (point[0] - x) * (point[1] - y), 0)
  return above / points.reduce((sum, point) => sum + (point[0] - x) ** 2, 0)
}
