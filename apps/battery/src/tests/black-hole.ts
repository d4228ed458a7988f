import { appendFileSync } from 'node:fs'
import { join } from 'node:path'
import { startProxy } from '@pgq/test-db'
import { type BatteryTest, expectNone, type Mutant } from '../battery-test.js'
import { canMakeNamespaces, makeNamespace } from '../namespace.js'
import type { WorkerProgram } from '../programs/worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import type { ProcessOptions, TestProcess } from '../worker-process.js'

const LIMIT_MS = 10_000
/** Longer than another worker takes to start, on a busy machine too: they must still run when the network is lost. */
const RUN_MS = 5_000

/** The network of one worker swallows everything: its jobs go to another one, and it comes back when the network does. */
export const blackHole: BatteryTest = {
  number: 15,
  name: 'black-hole',
  waits: true,
  get mutants() {
    return [canMakeNamespaces() ? SILENT_SOCKETS : NO_LEASE]
  },
  async run(context) {
    const hole = await (canMakeNamespaces() ? digInNetwork(context) : digInProxy(context))
    const { queue, far } = hole
    const tasks = ['plain', 'finish', 'transactional'] as const
    const options = { leaseMs: hole.leaseMs, concurrency: 3, maxCrashes: 1_000 }
    const cutOff = context.worker(queue, { ...far.program, tasks, options }, far.options)
    await cutOff.heard('ready')
    const takenOver: number[] = []
    const back: number[] = []
    let n = 0
    for (let round = 1; round <= (context.long ? 10 : 1); round++) {
      for (const inFlight of [false, true]) {
        // Only one worker yet: all of these are its own.
        for (const task of tasks) await queue.enqueue(task, [{ n: n++, ms: RUN_MS }])
        await cutOff.heard('run', cutOff.told.filter(([event]) => event === 'run').length + missing(cutOff, n))
        const other = context.worker(queue, { tasks, options })
        await other.heard('ready')
        hole.swallow()
        const swallowedAt = performance.now()
        // Something is sent to the silent connection; without, it is the idle connection that has to be found out.
        if (inFlight) await queue.pool.query("select pg_notify('pgq_pgq_workers', '')")
        await other.heard('run', tasks.length, 40_000)
        takenOver.push(performance.now() - swallowedAt)
        other.kill('SIGKILL')
        hole.heal()
        const healedAt = performance.now()
        await queue.enqueue('plain', [{ n: n++ }])
        await heardRun(cutOff, n - 1)
        back.push(performance.now() - healedAt)
        await until('the jobs are done', async () => (await queue.waiting()) === 0, 60_000)
      }
    }
    const account = await verify(context, queue)
    const [slowest, slowestBack] = [Math.max(...takenOver), Math.max(...back)]
    expectNone([
      slowest > LIMIT_MS && `The jobs were taken over only after ${slowest.toFixed(0)} ms.`,
      slowestBack > LIMIT_MS && `The worker came back only ${slowestBack.toFixed(0)} ms after the network.`,
    ])
    return (
      `${hole.kind}; ${takenOver.length} holes, idle and with a NOTIFY in flight: jobs taken over within ` +
      `${(slowest / 1_000).toFixed(1)} s, working again ${(slowestBack / 1_000).toFixed(1)} s after the network; ` +
      `${account.jobs} jobs in ${account.runs} runs, effects once`
    )
  },
}

const SILENT_SOCKETS: Mutant = {
  name: 'a connection that answers nothing is kept for as long as the machine likes',
  patches: [
    {
      file: 'packages/worker/src/session.ts',
      find: "set tcp_keepalives_idle = 2; set tcp_keepalives_interval = 1; set tcp_keepalives_count = 2; set tcp_user_timeout = '4s'",
      replace: '',
    },
  ],
}

const NO_LEASE: Mutant = {
  name: 'silence kills nobody whose connections are open',
  patches: [
    {
      file: 'packages/core/src/rescue.ts',
      find: "worker.beat_at < now() - worker.lease_ms * interval '1 ms'`",
      replace: "worker.beat_at < now() - worker.lease_ms * interval '1 h'`",
    },
  ],
}

interface Hole {
  readonly kind: string
  readonly queue: TestQueue
  readonly leaseMs: number
  /** How to start the worker on the other side of it. */
  readonly far: { readonly program: Pick<WorkerProgram, 'url' | 'handlerUrl'>; readonly options?: ProcessOptions }
  swallow(): void
  heal(): void
}

/** The kernel on either side notices nothing; the lease is longer than the test. */
async function digInNetwork(context: TestContext): Promise<Hole> {
  const namespace = makeNamespace()
  context.onEnd(namespace.remove)
  const server = await context.server({ settings: { listen_addresses: `127.0.0.1,${namespace.host}` } })
  appendFileSync(join(server.dataDir, 'pg_hba.conf'), `\nhost all all ${namespace.address}/32 password\n`)
  const queue = await context.queue(server)
  await queue.pool.query('select pg_reload_conf()')
  const url = Object.assign(new URL(queue.url), { hostname: namespace.host }).href
  const { swallow, heal, prefix } = namespace
  return {
    kind: 'a network that swallows',
    queue,
    leaseMs: 60_000,
    far: { program: { url }, options: { prefix } },
    swallow,
    heal,
  }
}

/** A proxy keeps the server's side answering, so that only the lease tells. */
async function digInProxy(context: TestContext): Promise<Hole> {
  const queue = await context.queue()
  const proxy = await startProxy(Number(new URL(queue.url).port))
  context.onEnd(() => proxy.close())
  return {
    kind: 'a proxy that swallows (without root or ip netns)',
    queue,
    leaseMs: 5_000,
    far: { program: { url: proxy.through(queue.url) } },
    swallow: proxy.pause,
    heal: proxy.resume,
  }
}

/** How many of the jobs below n it has not begun. */
function missing(worker: TestProcess, n: number): number {
  const begun = new Set(worker.told.filter(([event]) => event === 'run').map(([, fields]) => fields.n))
  return [n - 3, n - 2, n - 1].filter((job) => !begun.has(job)).length
}

/** Resolves when the process tells that it runs job n. */
export async function heardRun(member: TestProcess, n: number): Promise<void> {
  for (let times = 1; ; times++) if ((await member.heard('run', times)).n === n) return
}
