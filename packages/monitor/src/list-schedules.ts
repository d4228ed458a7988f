import { type CatchUp, type Executor, sql } from '@pgq/core'
import { checkOptions, dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'

/** Jobs that come again and again: what they are, when they come, and how it went. */
export interface Schedule {
  readonly name: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  /** Its times, read by the clock of timeZone; null: it comes each everyMs. */
  readonly cron: string | null
  readonly timeZone: string
  readonly everyMs: number | null
  readonly catchUp: CatchUp
  /** The next slot; an instant in the past while no worker has seen to it. Null: its cron expression has no more times. */
  readonly nextAt: Date | null
  /** Its slots have no jobs until it is resumed. */
  readonly pausedAt: Date | null
  /** When a slot last had a job, and which job that was. */
  readonly lastAt: Date | null
  readonly lastJobId: string | null
  /** When workers last failed to enqueue the job of the slot nextAt, and why. They try again each minute. */
  readonly failedAt: Date | null
  readonly error: string | null
}

/** Lists the schedules, ordered by name: the first 1,000. */
export async function listSchedules(executor: Executor, options: MonitorOptions = {}): Promise<Schedule[]> {
  checkOptions('listSchedules', options)
  return (await askSchedules(executor, options, {})).map(scheduleOf)
}

/** A schedule as it travels. */
export interface ScheduleRow extends Omit<Schedule, 'nextAt' | 'pausedAt' | 'lastAt' | 'failedAt'> {
  nextAt: EpochMs
  pausedAt: EpochMs | null
  lastAt: EpochMs | null
  failedAt: EpochMs | null
}

export const scheduleOf = (row: ScheduleRow): Schedule => ({
  name: row.name,
  task: row.task,
  queue: row.queue,
  priority: row.priority,
  cron: row.cron,
  timeZone: row.timeZone,
  everyMs: row.everyMs,
  catchUp: row.catchUp,
  nextAt: row.nextAt === 'Infinity' ? null : dateOf(row.nextAt),
  pausedAt: dateOrNull(row.pausedAt),
  lastAt: dateOrNull(row.lastAt),
  lastJobId: row.lastJobId,
  failedAt: dateOrNull(row.failedAt),
  error: row.error,
})

const dateOrNull = (ms: EpochMs | null) => (ms === null ? null : dateOf(ms))

/** The columns of ScheduleRow, of the alias schedule. */
export const scheduleColumns = sql`
  schedule.name, schedule.task, schedule.queue, schedule.priority, schedule.cron, schedule.time_zone as "timeZone",
  schedule.every_ms as "everyMs", schedule.catch_up as "catchUp", ${epochMs(sql`schedule.next_at`)} as "nextAt",
  ${epochMs(sql`schedule.paused_at`)} as "pausedAt", ${epochMs(sql`schedule.last_at`)} as "lastAt",
  schedule.last_job_id::text as "lastJobId", ${epochMs(sql`schedule.failed_at`)} as "failedAt", schedule.error`

const askSchedules = defineQuestion<object, ScheduleRow>(
  'list_schedules',
  ({ table }) => sql`
    select ${scheduleColumns}
    from ${table('schedules')} as schedule
    order by schedule.name
    limit 1000`,
)
