import {
  countMatching,
  databaseTime,
  type Executor,
  type JobFilter,
  type JobFilters,
  type ManageOptions,
} from '@pgq/core'
import { confirm } from './confirm.js'
import { type DatabaseOptions, type Session, withQueue } from './connection.js'
import { explain } from './explain.js'
import { EXIT, Failure } from './failure.js'
import { Interruption } from './interruption.js'
import { counted, note, number, print, printJson } from './output.js'
import { startProgress } from './progress.js'

export interface BulkOptions extends DatabaseOptions {
  readonly json?: boolean
  readonly yes?: boolean
  readonly dryRun?: boolean
}

/** Something that is done to all jobs that fit a filter. */
export interface BulkAction<Kind extends keyof JobFilters> {
  /** `redriven`: what the jobs are then. */
  readonly done: string
  /** Which jobs it can hit. */
  readonly kind: Kind
  run(executor: Executor, filter: JobFilters[Kind], options: ManageOptions): Promise<number>
}

/** Jobs of one statement: short enough for a Ctrl-C, 40 ms to redrive and 80 ms to cancel. */
const BATCH = 1_000
/** An action takes its time. 0 is how pg says so. */
const NO_LIMIT = 0
/** Nobody has more jobs than this to be counted. */
const MOST = 10_000_000

/**
 * Does it to the jobs that fit and were there when it began, batch by batch: a job that comes back meanwhile is not hit twice.
 * After Ctrl-C it finishes the batch that runs and says how far it came. Jobs that are named by id are not asked about.
 */
export async function runBulk<Kind extends keyof JobFilters>(
  action: BulkAction<Kind>,
  filter: JobFilters[Kind] & JobFilter,
  options: BulkOptions,
): Promise<number> {
  const act = async (session: Session): Promise<number> => {
    const { client, schema } = session
    const { ids } = filter
    const asOf = await databaseTime(client)
    const matched = await countMatching(client, action.kind, filter, { schema, limit: MOST, asOf })
    if (options.dryRun) return preview(action, matched, options)
    if (!ids && matched === 0) return report(action, { jobs: 0, matched }, options)
    if (!ids && !options.yes && !(await confirm(`${counted(matched, 'job')} would be ${action.done}.`))) {
      note('Nothing was done.')
      return EXIT.failed
    }
    const { jobs, exitCode } = await runBatches(session, action, filter, { asOf, matched })
    report(action, { jobs, matched, ...(exitCode > 0 && { interrupted: true }) }, options)
    if (!ids || exitCode > 0) return exitCode
    await tellMissed(session, action, ids, { jobs, asOf })
    return jobs === 0 ? EXIT.failed : EXIT.ok
  }
  return withQueue(options, act, NO_LIMIT)
}

async function runBatches<Kind extends keyof JobFilters>(
  { client, schema }: Session,
  action: BulkAction<Kind>,
  filter: JobFilters[Kind],
  { asOf, matched }: { asOf: string; matched: number },
): Promise<{ jobs: number; exitCode: number }> {
  const interruption = new Interruption(() => progress.say('Finishing the batch that runs; Ctrl-C again ends at once.'))
  const progress = startProgress(matched, BATCH)
  let jobs = 0
  let isWhole = false
  try {
    while (!isWhole && !interruption.requested) {
      const hit = await action.run(client, filter, { schema, limit: BATCH, asOf })
      jobs += hit
      isWhole = hit < BATCH
      progress.reached(jobs)
    }
  } catch (error) {
    const { message } = explain(error)
    const before = jobs > 0 ? ` Before that, ${counted(jobs, 'job')} were ${action.done}.` : ''
    throw new Failure(`${message}${before}`, { cause: error })
  } finally {
    progress.stop()
    interruption.end()
  }
  return { jobs, exitCode: isWhole || jobs === matched ? EXIT.ok : interruption.exitCode }
}

function preview(action: { done: string }, matched: number, { json }: BulkOptions): number {
  if (json) printJson({ jobs: 0, matched, dryRun: true })
  else print(`${counted(matched, 'job')} would be ${action.done}.`)
  return EXIT.ok
}

interface Result {
  readonly jobs: number
  readonly matched: number
  readonly interrupted?: true
}

function report(action: { done: string }, result: Result, { json }: BulkOptions): number {
  if (json) printJson(result)
  else print(sentence(action, result))
  return EXIT.ok
}

function sentence({ done }: { done: string }, { jobs, matched, interrupted }: Result): string {
  if (jobs >= matched) return `${counted(jobs, 'job')} ${done}.`
  const why = interrupted ? 'Interrupted.' : 'The others changed meanwhile.'
  return `${number(jobs)} of ${counted(matched, 'job')} ${done}. ${why}`
}

/** What of the ids was not hit: most often they are dead letters, which only redrive takes. */
async function tellMissed(
  { client, schema }: Session,
  { kind }: { kind: keyof JobFilters },
  ids: readonly string[],
  { jobs, asOf }: { jobs: number; asOf: string },
): Promise<void> {
  const missed = new Set(ids).size - jobs
  if (missed <= 0) return
  // As of the beginning: not those that this has cancelled.
  const dead = kind === 'dead' ? 0 : await countMatching(client, 'dead', { ids }, { schema, limit: MOST, asOf })
  if (dead > 0) note(`${dead === 1 ? '1 is a dead letter' : `${number(dead)} are dead letters`}: pgq redrive <id>.`)
  const rest = missed - dead
  if (rest > 0)
    note(`${counted(rest, 'id')} ${rest === 1 ? 'does' : 'do'} not fit: pgq jobs <id> says where that job is.`)
}
