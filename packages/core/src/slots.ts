import { Cron } from 'croner'
import { InvalidOptionError } from './errors.js'
import { shown } from './option-names.js'

/** When the slots of a schedule are: at the times of a cron expression in a time zone, or each so many ms after the one before. */
export type Timing = { readonly cron: string; readonly timeZone: string } | { readonly everyMs: number }

/**
 * What becomes of slots that no worker was there for:
 * - skip: nothing, unless the slot is less than a minute ago.
 * - one: one job for all of them, with the first as its slot.
 * - all: a job for each of them, at most for the first 1,000.
 */
export type CatchUp = 'skip' | 'one' | 'all'

/** A worker that is a little late has not missed a slot. */
const STILL_ON_TIME_MS = 60_000
const MOST_CAUGHT_UP = 1_000

/** The first slot after an instant, in ms since 1970; null when there is none. */
type NextSlot = (after: number) => number | null

/**
 * How to find the slots. Pure. Throws InvalidOptionError for what is no cron expression, or no time zone.
 *
 * Where a clock is put forward, a time that it passes over is that of the end of the gap; where it is put back, a time that comes twice
 * counts once. Expressions with more than one second, minute or hour (each quarter of an hour, say) go on through the hour that comes
 * twice, and have no slots in the gap. Source: croner, after Vixie cron.
 */
export function slotsOf(timing: Timing): NextSlot {
  if ('everyMs' in timing) return (after) => after + timing.everyMs
  const cron = parse(timing.cron, checkTimeZone(timing.timeZone))
  return (after) => cron.nextRun(new Date(after))?.getTime() ?? null
}

/** Of a schedule whose next slot is due: the slots to enqueue jobs for, and the one to wait for then. Pure. */
export function dueSlots(
  timing: Timing,
  due: number,
  catchUp: CatchUp,
  now: number,
): { readonly slots: readonly number[]; readonly nextAt: number | null } {
  const next = slotsOf(timing)
  return {
    slots: slotsToCatch(next, due, catchUp, now),
    // Intervals count on from their slots, however late these were seen.
    nextAt: 'everyMs' in timing ? due + (Math.floor((now - due) / timing.everyMs) + 1) * timing.everyMs : next(now),
  }
}

function slotsToCatch(next: NextSlot, due: number, catchUp: CatchUp, now: number): number[] {
  if (catchUp === 'skip') return now - due < STILL_ON_TIME_MS ? [due] : []
  if (catchUp === 'one') return [due]
  const slots: number[] = []
  for (
    let slot: number | null = due;
    slot !== null && slot <= now && slots.length < MOST_CAUGHT_UP;
    slot = next(slot)
  ) {
    slots.push(slot)
  }
  return slots
}

function parse(cron: string, timezone: string): Cron {
  const parts = typeof cron === 'string' ? cron.trim().split(/\s+/) : []
  if (parts.length !== 5 && parts.length !== 6 && !/^@[a-z]+$/i.test(parts[0] ?? '')) throw refuse(cron)
  try {
    return new Cron(cron, { timezone, paused: true })
  } catch (error) {
    throw refuse(cron, (error as Error).message.replace(/^CronPattern: (.*?)\.?$/, ' $1.'))
  }
}

const refuse = (cron: unknown, reason = '') =>
  new InvalidOptionError(
    `cron ${shown(cron)} is not allowed.${reason} Use minute, hour, day, month and weekday, as in "0 3 * * 1-5"; a sixth part, before them, is the second.`,
  )

function checkTimeZone(timeZone: string): string {
  try {
    new Intl.DateTimeFormat('en', { timeZone })
    return timeZone
  } catch {
    throw new InvalidOptionError(`timeZone ${shown(timeZone)} is unknown. Use a name such as "Europe/Berlin".`)
  }
}
