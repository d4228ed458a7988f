import {
  backlog,
  countJobs,
  type JobCount,
  type JobsEnded,
  listWorkers,
  type QueueBacklog,
  statistics,
} from '@pgq/monitor'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT } from '../failure.js'
import { count, duration, instant } from '../format.js'
import { coloursFor, counted, number } from '../output.js'
import { plain } from '../plain.js'
import { type Column, table, terminalWidth } from '../table.js'
import { show, type WatchOptions } from '../watch.js'

interface QueueStatus extends QueueBacklog {
  readonly running: number
  readonly dead: number
  readonly deadExact: boolean
}

interface Status {
  readonly queues: readonly QueueStatus[]
  readonly workers: number
  /** How jobs ended in the last hour. */
  readonly lastHour: JobsEnded
}

/** Shows what each queue holds, who works, and how the last hour went. */
export const status = (options: DatabaseOptions & WatchOptions): Promise<number> =>
  show(options, async () => {
    const answer = await ask(options)
    return { json: answer, text: () => textOf(answer), exitCode: EXIT.ok }
  })

const ask = (options: DatabaseOptions): Promise<Status> =>
  withQueue(options, async ({ client, schema }) => {
    const waiting = await backlog(client, { schema })
    const counts = await countJobs(client, {}, { schema })
    const workers = await listWorkers(client, { schema })
    const { total } = await statistics(client, {}, { schema })
    return { queues: merged(waiting, counts), workers: workers.length, lastHour: total }
  })

/** The backlog knows queues where something waits or a worker serves; dead letters and running jobs may be elsewhere too. */
function merged(waiting: readonly QueueBacklog[], counts: readonly JobCount[]): QueueStatus[] {
  const backlogs = new Map(waiting.map((one) => [one.queue, one]))
  const queues = [...new Set([...waiting, ...counts].map(({ queue }) => queue))].sort()
  return queues.map((queue) => {
    const of = (state: string) => counts.filter((one) => one.queue === queue && one.state === state)
    const sum = (state: string) => of(state).reduce((total, { jobs }) => total + jobs, 0)
    return {
      ...(backlogs.get(queue) ?? { queue, ready: 0, scheduled: 0, parked: 0, exact: true, workers: 0 }),
      running: sum('running'),
      dead: sum('dead'),
      deadExact: of('dead').every(({ exact }) => exact),
    }
  })
}

const COLUMNS: readonly Column[] = [
  { title: 'queue', shrinks: true },
  { title: 'ready', align: 'right' },
  { title: 'scheduled', align: 'right' },
  { title: 'parked', align: 'right' },
  { title: 'running', align: 'right' },
  { title: 'dead', align: 'right' },
  { title: 'oldest', align: 'right' },
  { title: 'workers', align: 'right' },
  { title: '' },
]

function textOf({ queues, workers, lastHour }: Status): string {
  const { bold } = coloursFor(process.stdout)
  const rows = queues.map(rowOf)
  const columns = COLUMNS.map((column) => ({ ...column, title: bold(column.title) }))
  const shown = queues.length > 0 ? table(columns, rows, terminalWidth()) : 'No queue has a job or a worker.'
  return `${shown}\n\n${counted(workers, 'worker')}. ${hourOf(lastHour)}`
}

function rowOf(queue: QueueStatus): string[] {
  const { red, yellow } = coloursFor(process.stdout)
  const remark = queue.pausedAt
    ? yellow(`paused since ${instant(queue.pausedAt)}`)
    : queue.ready + queue.parked > 0 && queue.workers === 0
      ? red('no worker')
      : ''
  return [
    plain(queue.queue),
    count(queue.ready, queue.exact),
    count(queue.scheduled, queue.exact),
    count(queue.parked, queue.exact),
    number(queue.running),
    count(queue.dead, queue.deadExact),
    queue.oldestReadyMs === undefined ? '' : duration(queue.oldestReadyMs),
    number(queue.workers),
    remark,
  ]
}

function hourOf({ completed, retried, dead, waitMs, runMs }: JobsEnded): string {
  const died = Object.values(dead).reduce((sum, jobs) => sum + jobs, 0)
  const ended = `In the last hour: ${number(completed)} completed, ${number(retried)} retried, ${number(died)} dead.`
  if (!waitMs || !runMs) return ended
  const times = (name: string, { p50, p95 }: { p50: number; p95: number }) =>
    `${name} ${duration(p50)}, ${duration(p95)}`
  return `${ended} Half and 95 % of them took at most: ${times('waiting', waitMs)}; ${times('running', runMs)}.`
}
