import type { Handler } from '@pgq/core'
import { createWorker, type Worker, type WorkerOptions } from '@pgq/worker'
import type { TestContext } from './test-context.js'
import type { TestQueue } from './test-queue.js'

/** A started worker in this process, for handlers that a test wants to talk to. Stops with the test. */
export async function ownWorker(
  context: TestContext,
  queue: Pick<TestQueue, 'url'>,
  handlers: readonly Handler[],
  options: Partial<WorkerOptions> = {},
): Promise<Worker> {
  const worker = createWorker({
    connectionString: queue.url,
    handlers,
    handleSignals: false,
    graceMs: 2_000,
    ...options,
  })
  context.onEnd(() => worker.stop())
  await worker.start()
  return worker
}
