import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { migrate } from '@pgq/migrations'
import { createDatabase, type PostgresOptions, type PostgresServer, startPostgres } from '@pgq/test-db'
import { CheckFailed } from './battery-test.js'
import type { WorkerProgram } from './programs/worker.js'
import { type Random, randomFrom } from './random.js'
import { openQueue, type TestQueue } from './test-queue.js'
import { type ProcessOptions, startProgram, type TestProcess } from './worker-process.js'

/** What a test works with. Everything it starts ends with it. */
export interface TestContext {
  readonly random: Random
  readonly long: boolean
  /** Where processes note what happens, and anything else that shall outlive a failed test. */
  readonly folder: string
  /** A migrated database on the battery's server, or on the given one. */
  queue(server?: { readonly url: string }): Promise<TestQueue>
  /** A server of its own, with the durability that PostgreSQL has by default. */
  server(options?: PostgresOptions): Promise<PostgresServer>
  /** A worker process on the queue, or on another way to it. */
  worker(
    queue: TestQueue,
    program: Omit<WorkerProgram, 'history' | 'url'> & { readonly url?: string },
    options?: ProcessOptions,
  ): TestProcess
  program(name: 'producer' | 'migrate' | 'cycles', argument: object, options?: ProcessOptions): TestProcess
  onEnd(work: () => unknown): void
  /** The test is over: what ends now does not do so by itself. */
  readonly isClosing: boolean
}

/** What all tests of a run share: one server that no test breaks, and on it a migrated database to copy. */
export interface Shared {
  readonly url: string
  readonly template: string
  close(): Promise<void>
}

export async function shareServer(): Promise<Shared> {
  const server = await startPostgres()
  const template = await createDatabase(server.url)
  await migrate(template.url)
  return { url: server.url, template: template.name, close: () => server.stop('immediate') }
}

export interface OpenContext extends TestContext {
  /** Ends what the test started; keep: leave its folder. */
  close(keep: boolean): Promise<void>
}

export function openContext(
  name: string,
  { seed, long, shared }: { seed: number; long: boolean; shared: () => Promise<Shared> },
): OpenContext {
  const folder = mkdtempSync(join(tmpdir(), `pgq-battery-${name}-`))
  const endings: (() => unknown)[] = []
  let queues = 0
  let isClosing = false
  const started = (process: TestProcess) => {
    const end = () => {
      if (process.isRunning) process.kill('SIGKILL')
    }
    processes.add(end)
    endings.push(async () => {
      end()
      processes.delete(end)
      await process.ended
    })
    return process
  }
  return {
    random: randomFrom(seed, name),
    long,
    folder,
    onEnd: (work) => void endings.push(work),
    async queue(server) {
      const { url, template } = server ? { url: server.url, template: undefined } : await shared()
      const database = await createDatabase(url, template ? { template } : {})
      endings.push(() => database.drop())
      if (!template) await migrate(database.url)
      const queue = await openQueue(database.url, join(folder, `queue-${++queues}`))
      endings.push(() => queue.close())
      return queue
    },
    async server(options) {
      const server = await startPostgres(options)
      endings.push(() => server.stop('immediate'))
      return server
    },
    worker: (queue, program, options) =>
      started(startProgram('worker', { url: queue.url, history: queue.folder, ...program }, queue.note, options)),
    program: (program, argument, options) => started(startProgram(program, argument, () => {}, options)),
    get isClosing() {
      return isClosing
    },
    async close(keep) {
      isClosing = true
      for (const end of endings.reverse()) await Promise.resolve(end()).catch(() => {})
      if (!keep) rmSync(folder, { recursive: true, force: true })
    },
  }
}

// A stopped process would outlive this one.
const processes = new Set<() => void>()
process.on('exit', () => {
  for (const end of processes) end()
})

/** Resolves with the first value that is not false, null or undefined; throws CheckFailed when there is none within ms. */
export async function until<Value>(
  what: string,
  condition: () => Promise<Value> | Value,
  ms = 30_000,
  everyMs = 10,
): Promise<Exclude<Value, false | null | undefined>> {
  for (const deadline = Date.now() + ms; ; ) {
    const value = await condition()
    if (value !== false && value !== null && value !== undefined) return value as never
    if (Date.now() > deadline) throw new CheckFailed([`${what}: not so after ${ms} ms.`])
    await sleep(everyMs)
  }
}
