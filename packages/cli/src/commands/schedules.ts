import { listSchedules, type Schedule } from '@pgq/monitor'
import { type DatabaseOptions, withQueue } from '../connection.js'
import { EXIT } from '../failure.js'
import { duration, instant } from '../format.js'
import { coloursFor, number } from '../output.js'
import { plain } from '../plain.js'
import { type Column, table, terminalWidth } from '../table.js'
import { show, type WatchOptions } from '../watch.js'

/** Lists the schedules: when each comes next, when it last came, and what is wrong with it. */
export const schedules = (options: DatabaseOptions & WatchOptions): Promise<number> =>
  show(options, async () => {
    const found = await withQueue(options, ({ client, schema }) => listSchedules(client, { schema }))
    return { json: { schedules: found }, text: () => textOf(found), exitCode: EXIT.ok }
  })

const COLUMNS: readonly Column[] = [
  { title: 'name', shrinks: true },
  { title: 'task', shrinks: true },
  { title: 'when', shrinks: true },
  { title: 'next slot' },
  { title: 'last job' },
  { title: 'state' },
  { title: '', shrinks: true },
]

/** As many as monitor lists. */
const MOST = 1_000

function textOf(found: readonly Schedule[]): string {
  const { bold, dim } = coloursFor(process.stdout)
  if (found.length === 0) return 'There are no schedules.'
  const columns = COLUMNS.map((column) => ({ ...column, title: bold(column.title) }))
  const shown = table(columns, found.map(rowOf), terminalWidth())
  return found.length < MOST ? shown : `${shown}\n\n${dim(`The first ${number(MOST)}.`)}`
}

const rowOf = (schedule: Schedule): string[] => [
  plain(schedule.name),
  plain(schedule.task),
  plain(whenOf(schedule)),
  schedule.nextAt ? instant(schedule.nextAt) : 'none',
  schedule.lastAt ? instant(schedule.lastAt) : '',
  stateOf(schedule),
  plain(remarkOn(schedule)),
]

const whenOf = ({ cron, timeZone, everyMs }: Schedule): string =>
  cron === null ? `every ${duration(everyMs!)}` : `${cron} ${timeZone}`

function stateOf({ pausedAt, error }: Schedule): string {
  const { red, yellow } = coloursFor(process.stdout)
  if (pausedAt) return yellow('paused')
  return error === null ? '' : red('failed')
}

const remarkOn = ({ pausedAt, error }: Schedule): string =>
  [pausedAt && `since ${instant(pausedAt)}`, error].filter(Boolean).join(': ')
