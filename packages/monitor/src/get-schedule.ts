import {
  checkName,
  checkOptionNames,
  type Executor,
  InvalidOptionError,
  optionNames,
  type RetryPolicy,
  slotsOf,
  sql,
  timingOf,
} from '@pgq/core'
import { type Schedule, type ScheduleRow, scheduleColumns, scheduleOf } from './list-schedules.js'
import { defineArgsQuestion, epochMs, type MonitorOptions } from './question.js'

/** A schedule with all that its jobs will be, and when. */
export interface ScheduleDetails extends Schedule {
  /** Only when asked for with `withArgs`. */
  readonly args?: unknown
  /** The retry policy of its jobs, where they have one of their own. */
  readonly retry: RetryPolicy | null
  /**
   * Five slots from nextAt on, or as many as there are; of a paused schedule those that it would have if it were resumed now. None when
   * its cron expression or its time zone is not understood here.
   */
  readonly nextSlots: readonly Date[]
}

const OPTIONS = optionNames<MonitorOptions & { withArgs?: boolean }>({ schema: true, withArgs: true })

/** Finds a schedule by its name. Its args only with `withArgs`. Throws InvalidOptionError for what is no name. */
export async function getSchedule(
  executor: Executor,
  name: string,
  options: MonitorOptions & { readonly withArgs?: boolean } = {},
): Promise<ScheduleDetails | undefined> {
  checkOptionNames(options, OPTIONS, 'getSchedule')
  checkName(name, 'schedule')
  const { withArgs = false, ...where } = options
  const [row] = await askSchedule(executor, where, { name, withArgs })
  if (!row) return undefined
  const schedule = scheduleOf(row)
  return {
    ...schedule,
    ...(withArgs && { args: row.args }),
    retry: row.retry,
    nextSlots: nextSlots(schedule, row.nowMs),
  }
}

const SLOTS = 5

function nextSlots(schedule: Schedule, nowMs: number): Date[] {
  const slots: Date[] = []
  try {
    const next = slotsOf(timingOf(schedule))
    let slot = schedule.pausedAt ? next(nowMs) : (schedule.nextAt?.getTime() ?? null)
    for (; slot !== null && slots.length < SLOTS; slot = next(slot)) slots.push(new Date(slot))
  } catch (error) {
    // SQL may have written it, or a Node that knows more time zones.
    if (!(error instanceof InvalidOptionError)) throw error
  }
  return slots
}

interface DetailsRow extends ScheduleRow {
  args: unknown
  retry: RetryPolicy | null
  nowMs: number
}

const askSchedule = defineArgsQuestion<{ name: string }, DetailsRow>(
  'get_schedule',
  ({ table, param }, args) => sql`
    select ${scheduleColumns}, ${args('schedule.args')} as args, schedule.retry, ${epochMs(sql`statement_timestamp()`)} as "nowMs"
    from ${table('schedules')} as schedule
    where schedule.name = ${param('name')}`,
)
