import { type DeliveryModeName, defineTask, type Handler, type Job, type TaskOptions, typed } from '@pgq/core'
import type { Delivery } from './harness.js'

/** One run of a handler. */
export interface Run {
  readonly args: any
  readonly attempt: number
  readonly at: number
}

/** A task of the given mode with any args. */
export const taskOf = (name: string, mode: DeliveryModeName, options: TaskOptions<DeliveryModeName> = {}) =>
  defineTask(name, { ...options, mode, args: typed<any>() })

/** A schema that answers what check answers, and refuses what it throws. */
export const schemaOf = <Output>(check: (args: any) => Output): ReturnType<typeof typed<any>> => ({
  '~standard': {
    version: 1,
    vendor: 'conformance',
    validate: (args) => {
      try {
        return { value: check(args) }
      } catch (error) {
        return { issues: [{ message: (error as Error).message }] }
      }
    },
  },
})

/** Notes the runs of handlers. */
export class Recorder {
  readonly runs: Run[] = []
  delivery: Delivery | undefined

  /** A handler that notes its run and then does what is given. */
  handler(task: ReturnType<typeof taskOf>, then: (args: any, job: Job) => unknown = () => {}): Handler {
    return task.handle((args, job) => {
      this.runs.push({ args: structuredClone(args), attempt: job.attempt, at: this.delivery?.now() ?? 0 })
      return then(args, job as Job)
    })
  }

  get attempts(): number[] {
    return this.runs.map(({ attempt }) => attempt)
  }

  get args(): unknown[] {
    return this.runs.map(({ args }) => args)
  }
}
