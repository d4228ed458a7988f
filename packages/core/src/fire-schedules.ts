import { type RawBuilder, sql } from 'kysely'
import { storableText } from './encode-args.js'
import { InvalidOptionError } from './errors.js'
import { type Executor, sqlStateOf } from './executor.js'
import { isError } from './read-thrown.js'
import { type CatchUp, dueSlots, type Timing } from './slots.js'
import { defineStatement, type StatementParts } from './statement.js'
import { instantOf, isRefusal } from './write-jobs.js'

/** What fireSchedules did. */
export interface FiredSchedules {
  readonly jobs: number
  /** Schedules whose slots could not have jobs, and why: they are tried again a minute later. */
  readonly failed: readonly { readonly schedule: string; readonly error: unknown }[]
}

/**
 * Enqueues the jobs of all slots that are due. Each schedule is seen to by one statement, which moves it on, too: however many workers look,
 * and wherever one of them dies, a slot has its job once.
 */
export async function fireSchedules(executor: Executor, schema: string): Promise<FiredSchedules> {
  const failed: { schedule: string; error: unknown }[] = []
  let jobs = 0
  for (const schedule of await dueStatement(executor, schema, {})) {
    try {
      jobs += await fire(executor, schema, schedule)
    } catch (error) {
      if (!(error instanceof InvalidOptionError) && !isRefusal(error) && !isCancelled(error)) throw error
      await noteFailure(executor, schema, schedule, error)
      failed.push({ schedule: schedule.name, error })
    }
  }
  return { jobs, failed }
}

/** It took longer than a statement may: all others shall not wait for it. */
const isCancelled = (error: unknown): boolean => sqlStateOf(error) === '57014'

/** What is read of a schedule to find its slots. */
export interface ScheduleTiming {
  readonly cron: string | null
  readonly timeZone: string
  readonly everyMs: number | null
  /** The clock of the database, ms since 1970. */
  readonly nowMs: number
}

interface DueSchedule extends ScheduleTiming {
  readonly name: string
  readonly catchUp: CatchUp
  /** As text, with its microseconds: while it is the next slot, nobody has seen to it. */
  readonly nextAt: string
}

export const timingOf = ({ cron, timeZone, everyMs }: Omit<ScheduleTiming, 'nowMs'>): Timing =>
  cron === null ? { everyMs: everyMs! } : { cron, timeZone }

/** An instant as a number, ms since 1970, which every client answers alike; null: infinity. */
export const inMs = (instant: RawBuilder<unknown>): RawBuilder<number | null> =>
  sql`case when isfinite(${instant}) then (extract(epoch from ${instant}) * 1000)::double precision end`

export const TIMING = sql`
  schedule.cron, schedule.time_zone as "timeZone", schedule.every_ms::double precision as "everyMs", ${inMs(sql`clock_timestamp()`)} as "nowMs"`

/** When to see to a schedule: at its slot, or a minute after that failed. */
export const dueAt = sql`greatest(schedule.next_at, schedule.failed_at + interval '1 minute')`

const dueStatement = defineStatement<object, DueSchedule>(
  'due_schedules',
  ({ table }) => sql`
    select
      schedule.name, schedule.catch_up as "catchUp", ${TIMING},
      to_char(schedule.next_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as "nextAt"
    from ${table('schedules')} as schedule
    where schedule.paused_at is null and ${dueAt} <= now()
    order by schedule.next_at
    limit 1000`,
)

async function fire(executor: Executor, schema: string, schedule: DueSchedule): Promise<number> {
  const { name, nextAt, catchUp, nowMs } = schedule
  const due = dueSlots(timingOf(schedule), new Date(nextAt).getTime(), catchUp, nowMs)
  const [fired] = await fireStatement(executor, schema, {
    name,
    seen: nextAt,
    slots: JSON.stringify(due.slots.map((slot) => instantOf(new Date(slot)))),
    nextAt: due.nextAt === null ? 'infinity' : instantOf(new Date(due.nextAt)),
  })
  return fired!.jobs
}

const fireStatement = defineStatement<
  { readonly name: string; readonly seen: string; readonly slots: string; readonly nextAt: string },
  { jobs: number }
>('fire_schedule', (parts) => {
  const { table, param } = parts
  return sql`
    with schedule as (
      select * from ${table('schedules')}
      where name = ${param('name')} and next_at = ${param('seen')}::text::timestamptz and paused_at is null
      for update skip locked
    ), job as (
      select ${enqueueSlot(parts, sql`slot`)} as id
      from schedule cross join json_array_elements_text(${param('slots')}::text::json) as slot
    ), moved as (
      update ${table('schedules')} as moved
      set
        next_at = ${param('nextAt')}::text::timestamptz, failed_at = null, error = null,
        last_at = case when exists (select from job) then now() else moved.last_at end,
        last_job_id = coalesce((select max(id) from job), moved.last_job_id)
      from schedule
      where moved.name = schedule.name
    )
    select count(*)::integer as jobs from job`
})

/** Enqueues a job of the row schedule; the job carries the name of the schedule and the slot in its meta. */
export const enqueueSlot = (
  { routine }: Pick<StatementParts<object>, 'routine'>,
  slot: RawBuilder<unknown>,
): RawBuilder<string> => sql`${routine('enqueue')}(
  schedule.task, schedule.args, schedule.queue, schedule.priority, retry => schedule.retry,
  meta => (coalesce(schedule.meta::jsonb, '{}') || jsonb_build_object('schedule', schedule.name, 'slot', to_char(
    ${slot}::timestamptz at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'
  )))::json
)`

const MAX_MESSAGE = 1_000

async function noteFailure(executor: Executor, schema: string, schedule: DueSchedule, error: unknown): Promise<void> {
  const { name, nextAt } = schedule
  const message = storableText(isError(error) ? error.message : error, MAX_MESSAGE)
  await failStatement(executor, schema, { name, seen: nextAt, message })
}

const failStatement = defineStatement<
  { readonly name: string; readonly seen: string; readonly message: string },
  { name: string }
>(
  'fail_schedule',
  ({ table, param }) => sql`
    update ${table('schedules')} set failed_at = now(), error = ${param('message')}
    where name = ${param('name')} and next_at = ${param('seen')}::text::timestamptz
    returning name`,
)
