import { sql } from 'kysely'
import { InvalidOptionError } from './errors.js'
import type { Executor } from './executor.js'
import { enqueueSlot, inMs, type ScheduleTiming, TIMING, timingOf } from './fire-schedules.js'
import { databaseTime } from './manage-jobs.js'
import { checkName, DEFAULT_SCHEMA } from './names.js'
import { checkOptionNames } from './option-names.js'
import { QUEUE_OPTIONS, type QueueOptions } from './queues.js'
import { type CatchUp, slotsOf, type Timing } from './slots.js'
import { defineStatement, type Statement } from './statement.js'
import { instantOf, type NewJob } from './write-jobs.js'

/** A schedule about to be written: what its jobs are, and when they come. */
export interface NewSchedule {
  readonly name: string
  readonly job: NewJob
  readonly timing: Timing
  readonly catchUp: CatchUp
}

/** What became of a schedule that was put, and when its next slot is. */
export interface ScheduleResult {
  readonly status: 'created' | 'changed' | 'unchanged'
  readonly name: string
  readonly nextAt: Date
}

/**
 * Writes a schedule, in place of one of the same name, and wakes a worker, so that somebody waits for its slot. Where the timing stays
 * as it was, so does the next slot; and one that is paused stays paused. Throws InvalidOptionError when there is no slot.
 */
export async function putSchedule(executor: Executor, schema: string, schedule: NewSchedule): Promise<ScheduleResult> {
  const { name, job, timing, catchUp } = schedule
  const nextAt = firstSlot(name, timing, await databaseTime(executor))
  const [row] = await putStatement(executor, schema, {
    name,
    task: job.task,
    args: job.args,
    queue: job.queue,
    priority: String(job.priority),
    retry: job.retry ? JSON.stringify(job.retry) : null,
    meta: job.meta ? JSON.stringify(job.meta) : null,
    cron: 'cron' in timing ? timing.cron : null,
    timeZone: 'cron' in timing ? timing.timeZone : 'UTC',
    everyMs: 'everyMs' in timing ? String(timing.everyMs) : null,
    catchUp,
    nextAt: instantOf(nextAt),
  })
  // Somebody else has written the same at this moment, which a statement that began before does not see.
  if (!row) return putSchedule(executor, schema, schedule)
  return { status: row.status, name, nextAt: new Date(row.nextAt ?? nextAt) }
}

/** Throws when there is none: a schedule that never comes is a mistake. */
export function firstSlot(name: string, timing: Timing, now: string | Date): Date {
  const slot = slotsOf(timing)(new Date(now).getTime())
  if (slot !== null) return new Date(slot)
  throw new InvalidOptionError(`schedule ${JSON.stringify(name)}: its cron expression has no time in the future.`)
}

type Texts<Name extends string> = { readonly [Column in Name]: string | null }

const putStatement = defineStatement<
  Texts<
    | 'name'
    | 'task'
    | 'args'
    | 'queue'
    | 'priority'
    | 'retry'
    | 'meta'
    | 'cron'
    | 'timeZone'
    | 'everyMs'
    | 'catchUp'
    | 'nextAt'
  >,
  { status: ScheduleResult['status']; nextAt: number | null }
>(
  'put_schedule',
  ({ table, param, routine }) => sql`
    with put as (
      insert into ${table('schedules')} as known
        (name, task, args, queue, priority, retry, meta, cron, time_zone, every_ms, catch_up, next_at)
      values (
        ${param('name')}, ${param('task')}, ${param('args')}::text::json, ${param('queue')}, ${param('priority')}::text::smallint,
        ${param('retry')}::text::json, ${param('meta')}::text::json, ${param('cron')}, ${param('timeZone')}, ${param('everyMs')}::text::bigint,
        ${param('catchUp')}, ${param('nextAt')}::text::timestamptz
      )
      on conflict (name) do update set
        task = excluded.task, args = excluded.args, queue = excluded.queue, priority = excluded.priority, retry = excluded.retry,
        meta = excluded.meta, cron = excluded.cron, time_zone = excluded.time_zone, every_ms = excluded.every_ms, catch_up = excluded.catch_up,
        failed_at = null, error = null, next_at = case
          when (known.cron, known.time_zone, known.every_ms) is distinct from (excluded.cron, excluded.time_zone, excluded.every_ms)
          then excluded.next_at else known.next_at
        end
      where (
        known.task, known.args::text, known.queue, known.priority, known.retry::text, known.meta::text, known.cron, known.time_zone, known.every_ms,
        known.catch_up
      ) is distinct from (
        excluded.task, excluded.args::text, excluded.queue, excluded.priority, excluded.retry::text, excluded.meta::text, excluded.cron,
        excluded.time_zone, excluded.every_ms, excluded.catch_up
      )
      returning queue, next_at, case when xmax = 0 then 'created' else 'changed' end as status
    ), answer as (
      select next_at, status, ${routine('ring_doorbell')}(array[queue]) from put
      union all
      select next_at, 'unchanged', 0 from ${table('schedules')} where name = ${param('name')} and not exists (select from put)
    )
    select status, ${inMs(sql`next_at`)} as "nextAt" from answer`,
)

/** Removes a schedule. Jobs that came of it stay. Answers whether there was one. */
export const removeSchedule = (executor: Executor, name: string, options?: QueueOptions): Promise<boolean> =>
  change(executor, removeStatement, name, options)

const removeStatement = defineStatement<Named, Named>(
  'remove_schedule',
  ({ table, param }) => sql`delete from ${table('schedules')} where name = ${param('name')} returning name`,
)

/** Pauses a schedule: its slots have no jobs until it is resumed. Answers whether it was going on before. */
export const pauseSchedule = (executor: Executor, name: string, options?: QueueOptions): Promise<boolean> =>
  change(executor, pauseStatement, name, options)

const pauseStatement = defineStatement<Named, Named>(
  'pause_schedule',
  ({ table, param }) => sql`
    update ${table('schedules')} set paused_at = now() where name = ${param('name')} and paused_at is null returning name`,
)

/**
 * Lets a paused schedule go on, with the first slot that comes from now on: those of the pause have no jobs. Answers whether it was
 * paused.
 */
export async function resumeSchedule(executor: Executor, name: string, options?: QueueOptions): Promise<boolean> {
  const schema = checkCall(name, options)
  const [schedule] = await timingStatement(executor, schema, { name })
  if (!schedule) return false
  const nextAt = firstSlot(name, timingOf(schedule), new Date(schedule.nowMs))
  return (await resumeStatement(executor, schema, { name, nextAt: instantOf(nextAt) })).length > 0
}

const timingStatement = defineStatement<Named, ScheduleTiming>(
  'schedule_timing',
  ({ table, param }) =>
    sql`select ${TIMING} from ${table('schedules')} as schedule where schedule.name = ${param('name')}`,
)

const resumeStatement = defineStatement<Named & Texts<'nextAt'>, Named>(
  'resume_schedule',
  ({ table, param, routine }) => sql`
    with resumed as (
      update ${table('schedules')} set paused_at = null, failed_at = null, error = null, next_at = ${param('nextAt')}::text::timestamptz
      where name = ${param('name')} and paused_at is not null
      returning name, queue
    )
    select name, ${routine('ring_doorbell')}(array[queue]) from resumed`,
)

/** Enqueues a job of a schedule now, beside its slots, also when it is paused. Answers its id; null: there is no such schedule. */
export async function runSchedule(executor: Executor, name: string, options?: QueueOptions): Promise<string | null> {
  const [row] = await runStatement(executor, checkCall(name, options), { name })
  return row?.id ?? null
}

const runStatement = defineStatement<Named, { id: string }>(
  'run_schedule',
  (parts) => sql`
    select ${enqueueSlot(parts, sql`now()`)}::text as id
    from ${parts.table('schedules')} as schedule where schedule.name = ${parts.param('name')}`,
)

interface Named {
  readonly name: string
}

async function change(
  executor: Executor,
  statement: Statement<Named, Named>,
  name: string,
  options?: QueueOptions,
): Promise<boolean> {
  return (await statement(executor, checkCall(name, options), { name })).length > 0
}

/** Answers the schema. Throws InvalidOptionError. */
function checkCall(name: string, options: QueueOptions = {}): string {
  checkName(name, 'schedule')
  checkOptionNames(options, QUEUE_OPTIONS, 'The call')
  return options.schema ?? DEFAULT_SCHEMA
}
