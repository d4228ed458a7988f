import type { JobState } from '@pgq/core'
import {
  type DeadJob,
  listDead,
  listParked,
  listReady,
  listRunning,
  listScheduled,
  type Page,
  type PageRequest,
  type ParkedJob,
  type ReadyJob,
  type RunningJob,
  type ScheduledJob,
} from '@pgq/monitor'
import { type DatabaseOptions, type Session, withQueue } from '../connection.js'
import { EXIT, UsageError } from '../failure.js'
import { instant } from '../format.js'
import { coloursFor, number } from '../output.js'
import { plain } from '../plain.js'
import { type Column, table, terminalWidth } from '../table.js'
import { show, type WatchOptions } from '../watch.js'

interface JobsOptions extends DatabaseOptions, WatchOptions {
  readonly queue?: string
  readonly task?: string
  readonly key?: string
  readonly state?: JobState
  readonly limit: number
  readonly after?: string
  readonly args?: boolean
}

type Listed = { readonly state: JobState } & (ReadyJob | ScheduledJob | ParkedJob | RunningJob | DeadJob)

/** In this order, when no state is asked for. */
const STATES: readonly JobState[] = ['running', 'ready', 'scheduled', 'parked', 'dead']

/** Lists jobs; those of one state page by page. */
export function jobs(options: JobsOptions): Promise<number> {
  if (options.after !== undefined && (!options.state || options.state === 'running'))
    throw new UsageError(
      '--after goes on with a list of one state: give --state ready, scheduled, parked or dead with it.',
    )
  return show(options, async () => {
    const page = await withQueue(options, (session) => list(session, options))
    return { json: page, text: () => textOf(page, options), exitCode: EXIT.ok }
  })
}

async function list(session: Session, options: JobsOptions): Promise<Page<Listed>> {
  const { state, limit } = options
  if (state) return listState(session, state, options)
  const found: Listed[] = []
  for (const one of STATES) {
    if (found.length < limit)
      found.push(...(await listState(session, one, { ...options, limit: limit - found.length })).jobs)
  }
  return { jobs: found }
}

/** A page of monitor looks at a part of a long queue, and may find nothing there: goes on until there are as many as asked for. */
async function listState({ client, schema }: Session, state: JobState, options: JobsOptions): Promise<Page<Listed>> {
  const { queue, task, key, limit, args } = options
  const request: PageRequest = {
    withArgs: args ?? false,
    ...(queue !== undefined && { queue }),
    ...(task !== undefined && { task }),
    ...(key !== undefined && { key }),
  }
  const found: Listed[] = []
  let after = options.after
  do {
    const page = { ...request, limit: limit - found.length, ...(after !== undefined && { after }) }
    const { jobs, next } = await LISTS[state](client, page, { schema })
    found.push(...jobs.map((job) => ({ state, ...job })))
    after = next
  } while (after !== undefined && found.length < limit)
  return { jobs: found, ...(after !== undefined && { next: after }) }
}

const LISTS = {
  ready: listReady,
  scheduled: listScheduled,
  parked: listParked,
  dead: listDead,
  running: async (...asked: Parameters<typeof listRunning>) => ({ jobs: await listRunning(...asked), next: undefined }),
}

const COLUMNS: readonly Column[] = [
  { title: 'id', align: 'right' },
  { title: 'state' },
  { title: 'queue', shrinks: true },
  { title: 'task', shrinks: true },
  { title: 'priority', align: 'right' },
  { title: 'attempt', align: 'right' },
  { title: 'since, or due' },
  { title: '', shrinks: true },
]

function textOf({ jobs: found, next }: Page<Listed>, { args, limit, state, queue, task }: JobsOptions): string {
  const { bold, dim } = coloursFor(process.stdout)
  if (found.length === 0) return `No ${state || queue || task ? 'such job' : 'jobs'}. Finished ones are not kept.`
  const columns = [...COLUMNS, ...(args ? [{ title: 'args', shrinks: true }] : [])]
  const titled = columns.map((column) => ({ ...column, title: bold(column.title) }))
  const shown = table(
    titled,
    found.map((job) => rowOf(job, args)),
    terminalWidth(),
  )
  const more = next
    ? `More: --after '${next}'`
    : found.length === limit && !state
      ? `The first ${number(limit)}. More: --limit, or --state.`
      : ''
  return more ? `${shown}\n\n${dim(more)}` : shown
}

function rowOf(job: Listed, args = false): string[] {
  const { red } = coloursFor(process.stdout)
  const { id, state, queue, task, priority, attempt } = job
  return [
    id,
    state === 'dead' ? red(state) : state,
    plain(queue),
    plain(task),
    String(priority),
    String(attempt),
    instantOf(job),
    plain(remarkOn(job)),
    ...(args ? [plain(JSON.stringify(job.args) ?? '')] : []),
  ]
}

function instantOf(job: Listed): string {
  const at =
    'readyAt' in job ? job.readyAt : 'executeAt' in job ? job.executeAt : 'diedAt' in job ? job.diedAt : job.since
  return at ? instant(at) : ''
}

function remarkOn(job: Listed): string {
  if ('concurrencyKey' in job) return `waits for ${job.concurrencyKey}`
  if ('worker' in job) return `on ${job.worker.hostname} ${job.worker.pid}`
  if (!('lastError' in job) || !job.lastError) return 'reason' in job ? job.reason : ''
  const { name, message } = job.lastError
  return `${'reason' in job ? `${job.reason}: ` : ''}${name}: ${message}`
}
