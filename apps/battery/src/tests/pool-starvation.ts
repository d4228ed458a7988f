import { defineTask, InvalidOptionError, typed } from '@pgq/core'
import { createWorker } from '@pgq/worker'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** Handlers that wait for a pool while their jobs are held; and a server that has fewer connections than the worker needs. */
export const poolStarvation: BatteryTest = {
  number: 21,
  name: 'pool-starvation',
  mutants: [
    {
      name: 'the connections are not counted at the start',
      patches: [
        {
          file: 'packages/worker/src/probe.ts',
          find: 'if (needed <= allowed) return',
          replace: 'if (needed > 0) return',
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const jobs = context.long ? 5_000 : 300
    for (const task of ['plain', 'transactional'] as const) await queue.enqueue(task, works(jobs, context.random, 10))
    const from = performance.now()
    await context
      .worker(queue, { tasks: ['plain', 'transactional'], poolSize: 1, options: { concurrency: 20 } })
      .heard('ready')
    await verify(context, queue)
    const seconds = (performance.now() - from) / 1_000
    const message = await refusal(context)
    expectNone([!/\d+ connections.*max_connections/.test(message) && `The refusal does not help: ${message}`])
    return `40 handlers with one connection of their own: ${2 * jobs} jobs in ${seconds.toFixed(1)} s; refused at start: "${message}"`
  },
}

async function refusal(context: Parameters<BatteryTest['run']>[0]): Promise<string> {
  const queue = await context.queue(await context.server({ settings: { max_connections: 25 } }))
  const task = defineTask('work', { mode: 'transactional', args: typed<object>() })
  const worker = createWorker({
    connectionString: queue.url,
    handlers: [task.handle(() => Promise.resolve())],
    concurrency: 50,
    handleSignals: false,
  })
  const error = await worker.start().then(
    () => undefined,
    (reason) => reason,
  )
  await worker.stop()
  expect(error instanceof InvalidOptionError, `A worker of 50 slots started on a server of 25 connections: ${error}`)
  return error.message
}
