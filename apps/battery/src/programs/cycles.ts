// A program that starts and stops a worker again and again. Its one argument is CyclesProgram as JSON.
import { defineTask, typed } from '@pgq/core'
import { createWorker } from '@pgq/worker'

export interface CyclesProgram {
  readonly url: string
  readonly cycles: number
  /** Tells what it holds after each so many. */
  readonly every: number
}

/** What the process holds, after the garbage is gone. Bytes, and counts. */
export interface Holds {
  readonly cycle: number
  readonly rss: number
  readonly heapUsed: number
  /** Timers, sockets and the like. */
  readonly handles: number
  readonly listeners: number
}

const { url, cycles, every }: CyclesProgram = JSON.parse(process.argv[2]!)
process.on('disconnect', () => process.exit(1))
const tasks = (['at-least-once', 'transactional', 'at-most-once'] as const).map((mode) =>
  defineTask(mode, { mode, args: typed<null>() }),
)

for (let cycle = 0; cycle <= cycles; cycle++) {
  if (cycle % every === 0) process.send?.(['holds', holds(cycle)])
  const worker = createWorker({
    connectionString: url,
    handlers: tasks.map((task) => task.handle(() => {})),
    concurrency: 1,
  })
  await worker.start()
  await worker.stop()
}
process.send?.(['done', {}])
process.channel?.unref()

function holds(cycle: number): Holds {
  globalThis.gc?.()
  const { rss, heapUsed } = process.memoryUsage()
  const listeners = process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0)
  return { cycle, rss, heapUsed, handles: process.getActiveResourcesInfo().length, listeners }
}
