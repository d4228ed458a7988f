import { type EnqueueOptions, newJob, type TaskDefaults } from './enqueue.js'
import { InvalidOptionError } from './errors.js'
import type { DeliveryModeName } from './job.js'
import { checkName } from './names.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'
import { MAX_DELAY_MS } from './retry-policy.js'
import type { NewSchedule } from './schedules.js'
import { type CatchUp, slotsOf, type Timing } from './slots.js'

/** When the jobs of a schedule come, and what they are. */
export type ScheduleOptions<Mode extends DeliveryModeName = DeliveryModeName> = Pick<
  EnqueueOptions<Mode>,
  'queue' | 'priority' | 'retry' | 'concurrency'
> & {
  /** What it is known by: there is one schedule of a name. Default: the task's name. */
  readonly name?: string
  /** What becomes of slots that no worker was there for: 'skip', 'one' job for all of them, or 'all'. Default 'one'. */
  readonly catchUp?: CatchUp
} & (
    | {
        /** Minute, hour, day, month and weekday, as in '0 3 * * 1-5'; a sixth part, before them, is the second. */
        readonly cron: string
        /** The clock that cron is read by, as in 'Europe/Berlin'. Default 'UTC'. */
        readonly timeZone?: string
        readonly everyMs?: never
      }
    | {
        /** So many ms from slot to slot, from 1,000; the first one comes when as many have passed. */
        readonly everyMs: number
        readonly cron?: never
        readonly timeZone?: never
      }
  )

type Given = Partial<Record<'cron' | 'timeZone' | 'everyMs' | 'catchUp' | 'name', unknown>> & EnqueueOptions

const OPTIONS = optionNames<Omit<Required<Given>, 'executeAt' | 'delayMs' | 'unique'>>({
  name: true,
  cron: true,
  timeZone: true,
  everyMs: true,
  catchUp: true,
  queue: true,
  priority: true,
  retry: true,
  concurrency: true,
})

const CATCH_UPS: readonly unknown[] = ['skip', 'one', 'all'] satisfies CatchUp[]
const MIN_EVERY_MS = 1_000

/** Checks the options of a schedule, and encodes its args. Throws InvalidOptionError, NotSerialisableError or ArgsTooLargeError. */
export function newSchedule(task: TaskDefaults, args: unknown, options: ScheduleOptions): NewSchedule {
  const where = `schedule of task ${JSON.stringify(task.name)}`
  checkOptionNames(options, OPTIONS, where)
  const { name = task.name, catchUp = 'one', cron: _, timeZone: __, everyMs: ___, ...job } = options
  checkName(name, 'schedule')
  if (!CATCH_UPS.includes(catchUp)) {
    throw new InvalidOptionError(`${where}: catchUp is ${shown(catchUp)}; use 'skip', 'one' or 'all'.`)
  }
  return { name, job: newJob(task, args, job), timing: checkTiming(options, where), catchUp }
}

function checkTiming({ cron, timeZone, everyMs }: Given, where: string): Timing {
  if ((cron === undefined) === (everyMs === undefined)) {
    throw new InvalidOptionError(`${where}: give cron or everyMs, one of them.`)
  }
  if (everyMs === undefined) {
    const timing = { cron: cron as string, timeZone: (timeZone ?? 'UTC') as string }
    slotsOf(timing)
    return timing
  }
  if (timeZone !== undefined) throw new InvalidOptionError(`${where}: timeZone is for cron; everyMs needs none.`)
  if (Number.isInteger(everyMs) && (everyMs as number) >= MIN_EVERY_MS && (everyMs as number) <= MAX_DELAY_MS) {
    return { everyMs: everyMs as number }
  }
  throw new InvalidOptionError(
    `${where}: everyMs is ${shown(everyMs)}; use whole milliseconds from ${MIN_EVERY_MS} to ${MAX_DELAY_MS}.`,
  )
}
