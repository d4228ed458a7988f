import {
  type ConcurrencyPlace,
  findFreePlaces,
  findUnknownTasks,
  fireSchedules,
  forgetHolds,
  forgetKeys,
  goAlone,
  KEYS_A_LOOK,
  type KeyPlace,
  promoteDueJobs,
  ringDoorbell,
} from '@pgq/core'
import type { Backoff } from './backoff.js'
import { Chores } from './chores.js'
import type { Connection } from './connection.js'
import type { Control } from './control.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'
import type { Rescuer } from './rescuer.js'
import type { Session } from './session.js'
import { WakeUp } from './wake-up.js'

const PROMOTE_LIMIT = 1_000
/** How long a look that a ring asks for lets the claims of the lanes go ahead, in ms: it would take a processor of the server from them. */
const LANES_FIRST_MS = 5
const BUSY_PROMOTE_MS = 250
const FIRST_POLL_MS = 25
const MAX_SHARED_POLL_MS = 30_000
const UNKNOWN_TASKS_MS = 60_000
/** How often all workers together look for parked jobs that nobody sees to, and each of them at the latest, in ms. */
const PARKED_MS = 1_000
const MAX_PARKED_MS = 10_000
/** How often a busy worker looks through the keys of unique jobs, in ms; and again, while many of them are free. */
const FORGET_KEYS_MS = 60_000
const FORGET_AGAIN_MS = 1_000
/** Idle workers wait for the same slots: each of them looks within so many ms of the others, and those that come later find it seen to. */
const SLOT_SPREAD_MS = 5
/** When to look again for slots that could not have their jobs, or that another worker was just seeing to, in ms. */
const SLOT_AGAIN_MS = 1_000
/** When a worker whose handlers did not end lets them end for suspects again, in ms. */
const ALONE_AGAIN_MS = 30_000
/** Before all others. */
const NO_KEY: KeyPlace = { task: '', key: '' }

/** Before all others. */
const NO_PLACE: ConcurrencyPlace = { queue: '', key: '' }

/** What the caretaker looks after. */
export interface Charge {
  readonly isIdle: boolean
  /** What the idle lanes run, whatever the others do: nothing rings for it while those are busy. */
  readonly idleTasks: readonly string[]
  /** It runs suspects with nothing beside them, or is about to. */
  readonly isAlone: boolean
  /** Nothing runs: suspects may at once. */
  readonly isCalm: boolean
  /** Jobs became ready, or came back: look for them. */
  jobsCameBack(): void
  /** Suspects wait, and no other worker has said that it runs them. False: what runs did not end soon enough. */
  runSuspects(): Promise<boolean>
  /** Jobs of these concurrency keys may run, and are parked. */
  claimParked(places: readonly ConcurrencyPlace[]): void
}

/**
 * The work on a clock: looking for jobs on behalf of sleeping lanes, promoting due jobs, enqueueing what schedules have due, forgetting keys
 * that are free, and reporting tasks nobody here knows.
 */
export class Caretaker {
  #pollMs = FIRST_POLL_MS
  #unknown = ''
  #keyPlace: KeyPlace = NO_KEY
  /** Where the next look for parked jobs goes on, and when it may begin. */
  #parkedPlace: ConcurrencyPlace = NO_PLACE
  #parkedFrom = 0
  #lanesLook = false
  /** Told to run suspects alone, and not yet to join the others again. */
  #wentAlone = false
  /** Idle workers were rung for the suspects that wait. */
  #offered = false
  /** When it lets all that it runs end for suspects. */
  #aloneFrom = 0
  readonly #chores: Chores
  readonly #lookNow = new WakeUp()

  constructor(
    private readonly options: ResolvedOptions,
    private readonly session: Session,
    private readonly connection: Connection,
    private readonly control: Pick<Control, 'isHung'>,
    private readonly rescuer: Pick<Rescuer, 'others'>,
    private readonly events: Events,
    backoff: Backoff,
    private readonly charge: Charge,
  ) {
    this.#chores = new Chores(backoff)
  }

  start(): void {
    this.#chores.start(this.#lookNow, () => this.#look())
    this.#chores.start(new WakeUp(), () => this.#reportUnknownTasks())
    this.#chores.start(new WakeUp(), () => this.#forgetKeys())
  }

  stop(): Promise<void> {
    return this.#chores.stop()
  }

  /** Workers were lost: what is parked behind jobs that they had ended is nobody's now. */
  lookForParked(): void {
    this.#parkedFrom = 0
    this.look()
  }

  /** A delayed job may have come, or the lanes fell asleep or woke up: decide anew when to look. rung: the lanes look already. */
  look(rung = false): void {
    this.#pollMs = FIRST_POLL_MS
    this.#lanesLook = rung
    if (rung) setTimeout(() => this.#lookNow.ring(), LANES_FIRST_MS).unref()
    else this.#lookNow.ring()
  }

  async #look(): Promise<number> {
    const { schema, queues } = this.options
    const { isIdle, idleTasks } = this.charge
    // What the lanes are just claiming is ready still: to ring them again would be a claim for nothing.
    const watchedTasks = this.#lanesLook ? [] : idleTasks
    this.#lanesLook = false
    const { promoted, nextDueMs, ready, suspects, parked, nextSlotMs } = await promoteDueJobs(this.connection, schema, {
      queues,
      limit: PROMOTE_LIMIT,
      watchedTasks,
    })
    if (promoted > 0 || ready) this.charge.jobsCameBack()
    if (!suspects) this.#offered = false
    if (!this.charge.isAlone && (suspects || this.#wentAlone)) await this.#seeToSuspects()
    if (promoted === PROMOTE_LIMIT) return 0
    const parkedMs = parked ? await this.#seeToParked() : Number.POSITIVE_INFINITY
    const slotMs = nextSlotMs === null ? Number.POSITIVE_INFINITY : await this.#seeToSlots(nextSlotMs)
    const longestMs = this.control.isHung ? this.#sharedPollMs() : this.options.deafPollMs
    const patience = isIdle ? this.#nextPollMs(ready, longestMs) : BUSY_PROMOTE_MS
    return Math.min(Math.max(nextDueMs ?? patience, 1), slotMs, parkedMs, patience)
  }

  /** Who ends a job of a concurrency key claims the next one. What nobody has: after a crash, a stop, or of a task that one does not know. */
  async #seeToParked(): Promise<number> {
    const waitMs = this.#parkedFrom - performance.now()
    if (waitMs > 0) return waitMs
    const { schema, queues } = this.options
    const seen = await findFreePlaces(this.connection, schema, { ...this.#parkedPlace, queues })
    this.charge.claimParked(seen.filter(({ free }) => free))
    this.#parkedPlace = seen.find(({ last }) => last) ?? NO_PLACE
    const nextMs = Math.min(PARKED_MS * (this.rescuer.others + 1), MAX_PARKED_MS)
    this.#parkedFrom = performance.now() + nextMs
    return nextMs
  }

  /** Enqueues what schedules have due, whatever queues this worker serves. Answers when to look again, in ms. */
  async #seeToSlots(nextSlotMs: number): Promise<number> {
    if (nextSlotMs > 0) return nextSlotMs + Math.random() * SLOT_SPREAD_MS * this.rescuer.others
    const { jobs, failed } = await fireSchedules(this.connection, this.options.schema)
    for (const failure of failed) this.events.emit('schedule.failed', failure)
    return jobs > 0 ? 0 : SLOT_AGAIN_MS
  }

  /**
   * An idle worker runs them at once. One that is busy has to let everything end before, and claims nothing meanwhile: it rings the others
   * first, and where a handler goes on and on it joins them again, so that its queues do not stand still for a suspect.
   */
  async #seeToSuspects(): Promise<void> {
    const { schema, queues, handlers } = this.options
    const isTurn = (this.#offered || this.rescuer.others === 0) && performance.now() > this.#aloneFrom
    const goes = this.charge.isCalm || isTurn
    if (!goes && !this.#offered) {
      this.#offered = true
      await ringDoorbell(this.connection, schema, { queues })
    }
    if (!goes && !this.#wentAlone) return
    const request = { workerId: this.session.workerId, queues, tasks: [...handlers.keys()], declines: !goes }
    this.#wentAlone = await goAlone(this.connection, schema, request)
    if (!this.#wentAlone) return
    void this.charge.runSuspects().then((ran) => {
      if (ran) return
      this.#offered = false
      this.#aloneFrom = performance.now() + ALONE_AGAIN_MS
    })
  }

  /** Sleeping workers share the looking: it is only there for what a ring has missed. */
  #sharedPollMs(): number {
    const { pollMs } = this.options
    return Math.min(pollMs * Math.max(this.rescuer.others, 1), Math.max(pollMs, MAX_SHARED_POLL_MS))
  }

  /**
   * From often to seldom. Also behind a doorbell that hangs: a transaction that looked for one before it hung, and commits
   * only now, rings nobody. So its job waits about as long again as the transaction took, and not for a poll.
   */
  #nextPollMs(found: boolean, longestMs: number): number {
    const ms = Math.min(found ? FIRST_POLL_MS : this.#pollMs, longestMs)
    this.#pollMs = ms * 2
    return ms
  }

  /** Piece by piece, in a circle. Only those that have work: an idle fleet frees no keys. */
  async #forgetKeys(): Promise<number> {
    if (this.charge.isIdle) return FORGET_KEYS_MS
    await forgetHolds(this.connection, this.options.schema, {})
    const [look] = await forgetKeys(this.connection, this.options.schema, this.#keyPlace)
    this.#keyPlace = look?.seen === KEYS_A_LOOK ? look : NO_KEY
    return look && look.forgotten > KEYS_A_LOOK / 10 ? FORGET_AGAIN_MS : FORGET_KEYS_MS
  }

  async #reportUnknownTasks(): Promise<number> {
    const { schema, queues, handlers } = this.options
    const tasks = await findUnknownTasks(this.connection, schema, { queues, tasks: [...handlers.keys()] })
    const found = tasks.sort().join()
    if (found && found !== this.#unknown) this.events.emit('tasks.unknown', { tasks })
    this.#unknown = found
    return UNKNOWN_TASKS_MS
  }
}
