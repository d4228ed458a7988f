import { firstSlot, type NewJob, type NewSchedule, type ScheduleResult, slotsOf, type Timing } from '@pgq/core'

/** A schedule of an eager queue. */
export interface EagerSchedule {
  readonly name: string
  readonly task: string
  readonly queue: string
  readonly timing: Timing
  readonly catchUp: NewSchedule['catchUp']
  /** Its next slot, by the queue's clock; null: there is none. */
  readonly nextAt: Date | null
}

/** A slot whose time has come, and its job. */
export interface Slot {
  readonly at: number
  readonly job: NewJob
}

interface Entry {
  readonly schedule: NewSchedule
  readonly nextAt: number | null
}

/** What is scheduled, by name. A clock that is only moved by hand passes over no slot, so there is nothing to catch up with. */
export class Schedules {
  readonly #entries = new Map<string, Entry>()

  get all(): EagerSchedule[] {
    return [...this.#entries.values()].map(({ schedule: { name, job, timing, catchUp }, nextAt }) => {
      const { task, queue } = job
      return { name, task, queue, timing, catchUp, nextAt: nextAt === null ? null : new Date(nextAt) }
    })
  }

  /** Does what the database would do. */
  put(schedule: NewSchedule, now: number): ScheduleResult {
    const { name, timing } = schedule
    const known = this.#entries.get(name)
    const first = firstSlot(name, timing, new Date(now)).getTime()
    const nextAt = known && isSame(known.schedule.timing, timing) ? (known.nextAt ?? first) : first
    this.#entries.set(name, { schedule, nextAt })
    const status = !known ? 'created' : isSame(known.schedule, schedule) ? 'unchanged' : 'changed'
    return { status, name, nextAt: new Date(nextAt) }
  }

  /** The earliest slot until then, in ms since 1970: its schedule moves on. */
  take(until: number): Slot | undefined {
    const entries = [...this.#entries.values()].filter(({ nextAt }) => nextAt !== null && nextAt <= until)
    const [first] = entries.sort((a, b) => a.nextAt! - b.nextAt!)
    if (!first) return undefined
    const { schedule } = first
    const at = first.nextAt!
    this.#entries.set(schedule.name, { schedule, nextAt: slotsOf(schedule.timing)(at) })
    const meta = { schedule: schedule.name, slot: new Date(at).toISOString() }
    return { at, job: { ...schedule.job, meta: { ...schedule.job.meta, ...meta } } }
  }

  clear(): void {
    this.#entries.clear()
  }
}

const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)
