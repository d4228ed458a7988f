import { type Delivery, describeDelivery, type OpenOptions, type UnfinishedJob } from '@pgq/conformance'
import { enqueue, type Handler } from '@pgq/core'
import { type EagerJob, type EagerQueue, eagerQueue } from '@pgq/eager'
import { describe, expect } from 'vitest'

describe.each(['inline', 'manual'] as const)('%s', (when) => {
  for (const mode of ['at-least-once', 'at-most-once', 'transactional'] as const) {
    describeDelivery(mode, { mode, open: async (options) => open(when, options) })
  }
})

function open(when: 'inline' | 'manual', { handlers, queues }: OpenOptions): Delivery {
  let calls = 0
  const counted = handlers.map(({ task, run }): Handler => {
    const counting = (args: unknown, job: unknown) => {
      calls += 1
      return run(args, job)
    }
    return { task, run: counting }
  })
  const queue = eagerQueue({ handlers: counted, ...(queues && { queues }), mode: when, onError: 'record' })
  // Args that the schema refuses end a run before it calls the handler.
  const runs = () => calls + queue.jobs.filter(({ errors }) => errors[0]?.name === 'InvalidArgsError').length
  return {
    target: queue,
    now: () => queue.now.getTime(),
    settled: async (wanted) => {
      if (wanted > runs()) await queue.drain({ maxJobs: wanted - runs() })
      expect(runs()).toBe(wanted)
    },
    unfinished: async () =>
      queue.jobs.filter(({ state }) => state !== 'completed').map((job) => unfinished(queue, job)),
    reportedUnknown: async (task) => {
      const refused = async () => {
        await enqueue(queue, task)
        await queue.drain()
      }
      return refused().then(
        () => [],
        (error) => [error.task],
      )
    },
    [Symbol.asyncDispose]: async () => queue.clear(),
  }
}

const unfinished = (queue: EagerQueue, job: EagerJob): UnfinishedJob => ({
  id: job.id,
  task: job.task,
  state: job.state as UnfinishedJob['state'],
  reason: job.reason,
  attempts: job.attempts,
  errors: job.errors,
  dueInMs: job.executeAt ? job.executeAt.getTime() - queue.now.getTime() : 0,
})
