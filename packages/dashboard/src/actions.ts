import {
  cancelJobs,
  checkName,
  type DeadJobFilter,
  deleteDeadJobs,
  deleteWaitingJobs,
  type Executor,
  InvalidOptionError,
  type ManageOptions,
  pauseQueue,
  redriveDeadJobs,
  resumeQueue,
  retryScheduledJobs,
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

/** The jobs, or the queue, that an action is about: the filters of core's functions, and the new priority. */
export type ActionTarget = Readonly<Record<string, unknown>>

interface Action {
  readonly permission: Permission
  /** Answers how many jobs it changed; for a queue, 1 or 0. Core's functions check what the target holds. */
  run(executor: Executor, target: ActionTarget, options: ManageOptions): Promise<number>
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
    run: async (executor, target, options) => Number(await pauseQueue(executor, queueOf(target), options)),
  },
  'resume-queue': {
    permission: 'pause',
    run: async (executor, target, options) => Number(await resumeQueue(executor, queueOf(target), options)),
  },
}

export const isAction = (name: string): name is ActionName => Object.hasOwn(ACTIONS, name)

/** The target that a request's body holds. Throws InvalidOptionError when that is no JSON object. */
export function readTarget(body: string): ActionTarget {
  if (body === '') {
    throw new InvalidOptionError(
      'The body of this request is empty. If the application has read it already, as express.json() does, mount the dashboard before what reads bodies.',
    )
  }
  const target = parsed(body)
  if (typeof target === 'object' && target !== null && !Array.isArray(target)) return { ...target }
  throw new InvalidOptionError('Send the jobs as a JSON object: { "ids": ["1"] }.')
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    return undefined
  }
}

function queueOf({ queue }: ActionTarget): string {
  checkName(queue, 'queue')
  return queue
}
