import {
  cancelJobs,
  checkName,
  type DeadJobFilter,
  databaseTime,
  deleteDeadJobs,
  deleteWaitingJobs,
  type Executor,
  InvalidOptionError,
  type ManageOptions,
  pauseQueue,
  pauseSchedule,
  type QueueOptions,
  redriveDeadJobs,
  removeSchedule,
  resumeQueue,
  resumeSchedule,
  retryScheduledJobs,
  runSchedule,
  setPriority,
  type UnfinishedJobFilter,
  type WaitingJobFilter,
} from '@pgq/core'
import type { Permission } from './permissions.js'

/** What the page can change. */
export type ActionName =
  | 'run-now'
  | 'cancel'
  | 'delete-waiting'
  | 'set-priority'
  | 'redrive'
  | 'delete-dead'
  | 'pause-queue'
  | 'resume-queue'
  | 'run-schedule'
  | 'pause-schedule'
  | 'resume-schedule'
  | 'remove-schedule'

/** What an action is about: jobs by the filters of core's functions, with the new priority; a `queue`; or a `schedule` by its name. */
export type ActionTarget = Readonly<Record<string, unknown>>

/** What an action did. */
export interface ActionDone {
  /** How many jobs it changed; for a queue or a schedule, 1 or 0. */
  readonly jobs: number
  /** The job that it enqueued. */
  readonly jobId?: string
}

interface Action {
  readonly permission: Permission
  /** Answers how many jobs it changed, at most the limit, or what it did at once. Core's functions check what the target holds. */
  run(executor: Executor, target: ActionTarget, options: ManageOptions): Promise<number | ActionDone>
}

export const ACTIONS: Readonly<Record<ActionName, Action>> = {
  'run-now': {
    permission: 'run-now',
    run: (executor, target, options) => retryScheduledJobs(executor, target as WaitingJobFilter, options),
  },
  cancel: {
    permission: 'cancel',
    run: (executor, target, options) => cancelJobs(executor, target as UnfinishedJobFilter, options),
  },
  'delete-waiting': {
    permission: 'delete',
    run: (executor, target, options) => deleteWaitingJobs(executor, target as WaitingJobFilter, options),
  },
  'set-priority': {
    permission: 'set-priority',
    run: (executor, { priority, ...filter }, options) =>
      setPriority(executor, filter as WaitingJobFilter, priority as number, options),
  },
  redrive: {
    permission: 'redrive',
    run: (executor, target, options) => redriveDeadJobs(executor, target as DeadJobFilter, options),
  },
  'delete-dead': {
    permission: 'delete',
    run: (executor, target, options) => deleteDeadJobs(executor, target as DeadJobFilter, options),
  },
  'pause-queue': {
    permission: 'pause',
    run: async (executor, target, options) => Number(await pauseQueue(executor, queueOf(target), whereOf(options))),
  },
  'resume-queue': {
    permission: 'pause',
    run: async (executor, target, options) => Number(await resumeQueue(executor, queueOf(target), whereOf(options))),
  },
  'run-schedule': {
    permission: 'run-now',
    run: async (executor, target, options) => {
      const jobId = await runSchedule(executor, scheduleOf(target), whereOf(options))
      return jobId === null ? 0 : { jobs: 1, jobId }
    },
  },
  'pause-schedule': {
    permission: 'pause',
    run: async (executor, target, options) =>
      Number(await pauseSchedule(executor, scheduleOf(target), whereOf(options))),
  },
  'resume-schedule': {
    permission: 'pause',
    run: async (executor, target, options) =>
      Number(await resumeSchedule(executor, scheduleOf(target), whereOf(options))),
  },
  'remove-schedule': {
    permission: 'delete',
    run: async (executor, target, options) =>
      Number(await removeSchedule(executor, scheduleOf(target), whereOf(options))),
  },
}

export const isAction = (name: string): name is ActionName => Object.hasOwn(ACTIONS, name)

/** How many jobs one action changes at most. */
const AT_ONCE = 10_000
/** And one of its statements, which the time limit of the executor is for: of jobs with args of 20 KB they take a part of a second. */
const BATCH = 1_000

/** Does it to the jobs that fit and were there when it began, batch by batch. Answers what it did, also before it failed. */
export async function runAction(
  name: ActionName,
  executor: Executor,
  target: ActionTarget,
  options: ManageOptions,
): Promise<ActionDone & { readonly error?: unknown }> {
  let jobs = 0
  try {
    const asOf = await databaseTime(executor)
    let hit: number
    do {
      const done = await ACTIONS[name].run(executor, target, { ...options, limit: BATCH, asOf })
      if (typeof done !== 'number') return done
      hit = done
      jobs += hit
    } while (hit === BATCH && jobs < AT_ONCE)
    return { jobs }
  } catch (error) {
    return { jobs, error }
  }
}

/** Of a body. The page names 2,000 jobs at most, in 44 KB. */
const MOST_BYTES = 1_000_000

/** The target that a request's body holds. Throws InvalidOptionError when that is no JSON object, or too large. */
export async function readTarget(request: Request): Promise<ActionTarget> {
  const body = await readBody(request)
  if (body === '') {
    throw new InvalidOptionError(
      'The body of this request is empty. If the application has read it already, as express.json() does, mount the dashboard before what reads bodies.',
    )
  }
  const target = parsed(body)
  if (typeof target === 'object' && target !== null && !Array.isArray(target)) return { ...target }
  throw new InvalidOptionError('Send the jobs as a JSON object: { "ids": ["1"] }.')
}

/** '' when somebody else has read it. */
async function readBody({ body }: Request): Promise<string> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  try {
    for await (const chunk of body ?? []) {
      bytes += chunk.length
      if (bytes > MOST_BYTES) break
      chunks.push(chunk)
    }
  } catch {
    return ''
  }
  if (bytes > MOST_BYTES) throw new InvalidOptionError(`The body of this request has more than ${MOST_BYTES} bytes.`)
  return Buffer.concat(chunks).toString()
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

/** Where a queue is, of which there is no limit and no instant. */
const whereOf = ({ schema }: ManageOptions): QueueOptions => (schema === undefined ? {} : { schema })

function queueOf({ queue }: ActionTarget): string {
  checkName(queue, 'queue')
  return queue
}

function scheduleOf({ schedule }: ActionTarget): string {
  checkName(schedule, 'schedule')
  return schedule
}
