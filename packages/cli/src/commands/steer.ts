import {
  cancelJobs,
  type DeadJobFilter,
  type JobFilter,
  redriveDeadJobs,
  retryScheduledJobs,
  type UnfinishedJobFilter,
} from '@pgq/core'
import { type BulkAction, type BulkOptions, runBulk } from '../bulk.js'
import { UsageError } from '../failure.js'

/** Makes scheduled jobs (delayed ones, and those that wait for a retry) ready now. */
export function retry(ids: readonly string[], options: BulkOptions & JobFilter): Promise<number> {
  const filter = jobsOf(ids, options, ['queue', 'task', 'key'])
  return runBulk(RETRY, { ...filter, state: 'scheduled' }, options)
}

const RETRY: BulkAction<'waiting'> = {
  done: 'made ready',
  kind: 'waiting',
  run: (executor, { state: _, ...filter }, options) => retryScheduledJobs(executor, filter, options),
}

/** Cancels jobs that wait, and asks those that run to end. */
export const cancel = (ids: readonly string[], options: BulkOptions & UnfinishedJobFilter): Promise<number> =>
  runBulk(CANCEL, jobsOf<UnfinishedJobFilter>(ids, options, ['queue', 'task', 'key', 'state']), options)

const CANCEL: BulkAction<'unfinished'> = { done: 'cancelled, or asked to end', kind: 'unfinished', run: cancelJobs }

/** Puts dead letters back into their queues. */
export const redrive = (ids: readonly string[], options: BulkOptions & DeadJobFilter): Promise<number> =>
  runBulk(REDRIVE, jobsOf<DeadJobFilter>(ids, options, ['queue', 'task', 'key', 'reason', 'error']), options)

const REDRIVE: BulkAction<'dead'> = { done: 'redriven', kind: 'dead', run: redriveDeadJobs }

/** The filter that the command line names. Throws UsageError when it names nothing: that never means all. */
function jobsOf<Filter extends JobFilter>(
  ids: readonly string[],
  options: Filter,
  conditions: readonly (keyof Filter & string)[],
): Filter {
  const given = conditions.filter((name) => options[name] !== undefined).map((name) => [name, options[name]])
  if (ids.length === 0 && given.length === 0) {
    throw new UsageError(
      `Which jobs? Name their ids, or give at least one of ${conditions.map((name) => `--${name}`).join(', ')}.`,
    )
  }
  return Object.fromEntries([...given, ...(ids.length > 0 ? [['ids', ids]] : [])]) as Filter
}
