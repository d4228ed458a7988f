import {
  beat,
  type ConcurrencyPlace,
  type Executor,
  findFreePlaces,
  findUnknownTasks,
  fireSchedules,
  forgetHolds,
  forgetKeys,
  goAlone,
  isRefusal,
  KEYS_A_LOOK,
  type KeyPlace,
  lookAtOthers,
  promoteDueJobs,
  type Rescue,
  rescueLostWorkers,
  ringDoorbell,
} from '@pgq/core'
import type { Backoff } from './backoff.js'
import { type Connection, isCancelled } from './connection.js'
import type { Control } from './control.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'
import type { Session } from './session.js'
import { WakeUp } from './wake-up.js'

const PROMOTE_LIMIT = 1_000
/** How long a look that a ring asks for lets the claims of the lanes go ahead, in ms: it would take a processor of the server from them. */
const LANES_FIRST_MS = 5
const BUSY_PROMOTE_MS = 250
const FIRST_POLL_MS = 25
const MAX_SHARED_POLL_MS = 30_000
/**
 * Between two rescues of those that are left when a worker is lost, on average, while any holds jobs, in ms. It is most of what a loss
 * costs: with one a second, the next start would come after 0.5 s instead of 0.2 s (median).
 */
const RESCUE_MS = 350
/** That one rescue takes: as good as all. */
const MOST_LEASES = 1_000_000
/** How long other workers count as busy after they said so, in ms. */
const ALERT_MS = 10_000
/** How often a worker that does not hear the others looks whether they are busy, in ms. */
const DEAF_LOOK_MS = 1_000
/** Within this time every living worker has come back to a server that restarted, or to a network that was gone, in ms. */
const SETTLE_IN_MS = 5_000
const MIN_SETTLE_IN_MS = 1_000
/** How often a worker beats when there is nothing else to look after, as a share of the lease. */
const BEAT_SHARE = 0.4
const UNKNOWN_TASKS_MS = 60_000
/** How often each worker looks for parked jobs that nobody sees to, in ms. */
const PARKED_MS = 1_000
/** How often a busy worker looks through the keys of unique jobs, in ms; and again, while many of them are free. */
const FORGET_KEYS_MS = 60_000
const FORGET_AGAIN_MS = 1_000
/** Idle workers wait for the same slots: each of them looks within so many ms of the others, and those that come later find it seen to. */
const SLOT_SPREAD_MS = 5
/** When to look again for slots that could not have their jobs, or that another worker was just seeing to, in ms. */
const SLOT_AGAIN_MS = 1_000
/** When a worker whose handlers did not end lets them end for suspects again, in ms. */
const ALONE_AGAIN_MS = 30_000
/** What was just being claimed when jobs were cancelled has begun by then, in ms. */
const CANCEL_AGAIN_MS = 1_000

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
  /** These jobs were asked to end, wherever they are. */
  cancel(jobIds: ReadonlySet<string>): void
  /** The others took this worker for dead. */
  declaredDead(): Promise<void>
}

/**
 * The work on a clock: looking for jobs on behalf of sleeping lanes, promoting due jobs, enqueueing what schedules have due, the heartbeat,
 * rescuing lost workers, forgetting keys that are free, and reporting tasks nobody here knows.
 */
export class Caretaker {
  #others = 0
  #alertUntil = 0
  #pollMs = FIRST_POLL_MS
  #unknown = ''
  #keyPlace: KeyPlace = NO_KEY
  /** Where the next look for parked jobs goes on, and when it may begin. */
  #parkedPlace: ConcurrencyPlace = NO_PLACE
  #parkedFrom = 0
  /** The server that this worker knows, and when it has known it long enough to judge those that have not come back to it yet. */
  #epoch: string | null = null
  #settledAt = Number.POSITIVE_INFINITY
  /** When it judges anybody again, after it lost touch itself. */
  #judgesFrom = 0
  #inTouchAt = performance.now()
  /** When silence tells again, after the clock of the server was put forward. */
  #judgesSilentFrom = 0
  /** How many leases the next rescue takes: fewer after one that was refused. */
  #maxLeases = MOST_LEASES
  /** When to ask again for cancelled jobs. */
  #cancelAgainAt = 0
  #lanesLook = false
  /** Told to run suspects alone, and not yet to join the others again. */
  #wentAlone = false
  /** Idle workers were rung for the suspects that wait. */
  #offered = false
  /** When it lets all that it runs end for suspects. */
  #aloneFrom = 0
  #stopping = false
  #running: Promise<unknown> = Promise.resolve()
  #nextRescueMs = 0
  readonly #lookNow = new WakeUp()
  readonly #rescueNow = new WakeUp()
  readonly #othersNow = new WakeUp()
  readonly #stopNow = new WakeUp()
  readonly #keysNow = new WakeUp()

  constructor(
    private readonly options: ResolvedOptions,
    private readonly session: Session,
    private readonly connection: Connection,
    /** The rescue runs on its connection, so that one which is gone without a word is found out. */
    private readonly control: Control,
    private readonly events: Events,
    private readonly backoff: Backoff,
    private readonly charge: Charge,
  ) {}

  get hasOthers(): boolean {
    return this.#others > 0
  }

  get #beatMs(): number {
    return this.options.leaseMs * BEAT_SHARE
  }

  /**
   * Before the first claim: a job that took the last worker down must be counted before it runs again. The rescue is planned anew for
   * each connection, which takes most of the time of a start: not for nothing.
   */
  async rescueFirst(): Promise<void> {
    const { schema } = this.options
    const { others, busy } = await lookAtOthers(this.control.connection, schema, this.session.workerId)
    this.#nextRescueMs = others > 0 || busy ? await this.#rescue() : this.#beatMs
  }

  start(): void {
    this.#running = Promise.all([
      this.#every(this.#lookNow, () => this.#look()),
      this.#every(this.#rescueNow, () => this.#rescue(), this.#nextRescueMs),
      this.#every(this.#stopNow, () => this.#reportUnknownTasks()),
      this.#every(this.#keysNow, () => this.#forgetKeys()),
      !this.control.listens && this.#every(this.#othersNow, () => this.#lookAtOthers()),
    ])
  }

  async stop(): Promise<void> {
    this.#stopping = true
    for (const wakeUp of [this.#lookNow, this.#rescueNow, this.#othersNow, this.#stopNow, this.#keysNow]) wakeUp.ring()
    await this.#running
  }

  /** A delayed job may have come, or the lanes fell asleep or woke up: decide anew when to look. rung: the lanes look already. */
  look(rung = false): void {
    this.#pollMs = FIRST_POLL_MS
    this.#lanesLook = rung
    if (rung) setTimeout(() => this.#lookNow.ring(), LANES_FIRST_MS).unref()
    else this.#lookNow.ring()
  }

  /** Says that this worker lives, and learns whether the others still think so. */
  beat(): void {
    this.#rescueNow.ring()
  }

  /** The listening connection is back after it was lost: say so, and learn whether the others took this worker for dead. */
  reconnected(): void {
    // The others' waits between two tries double, as this worker's did: they are back after as long again.
    const awayMs = performance.now() - this.#inTouchAt
    this.#judgesFrom = performance.now() + Math.min(Math.max(awayMs * 2, MIN_SETTLE_IN_MS), SETTLE_IN_MS)
    this.#rescueNow.ring()
  }

  /** Jobs were asked to end: learn which. */
  cancelRequested(): void {
    this.#cancelAgainAt = performance.now() + CANCEL_AGAIN_MS
    this.#rescueNow.ring()
  }

  /** Another worker came, or says that it is busy: there is somebody to look after. */
  othersStir(): void {
    const wasCalm = performance.now() > this.#alertUntil
    this.#alertUntil = performance.now() + ALERT_MS
    // Alone so far: the next look is not due before the next beat.
    if (wasCalm || this.#others === 0) this.#rescueNow.ring()
  }

  /** Runs work again and again, each time after the ms that it answered or when rung; after a failure, when the backoff says. */
  async #every(wakeUp: WakeUp, work: () => Promise<number>, firstAfterMs = 0): Promise<void> {
    if (firstAfterMs > 0) await wakeUp.wait(firstAfterMs)
    while (!this.#stopping) {
      const ms = await work().then(
        (answer) => {
          this.backoff.succeeded()
          return answer
        },
        (error) => this.backoff.failed(error),
      )
      if (!this.#stopping) await wakeUp.wait(ms)
    }
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
    this.#parkedFrom = performance.now() + PARKED_MS
    return PARKED_MS
  }

  /** Enqueues what schedules have due, whatever queues this worker serves. Answers when to look again, in ms. */
  async #seeToSlots(nextSlotMs: number): Promise<number> {
    if (nextSlotMs > 0) return nextSlotMs + Math.random() * SLOT_SPREAD_MS * this.#others
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
    const isTurn = (this.#offered || this.#others === 0) && performance.now() > this.#aloneFrom
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
    return Math.min(pollMs * Math.max(this.#others, 1), Math.max(pollMs, MAX_SHARED_POLL_MS))
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

  /** While others hold jobs, every RESCUE_MS over all others together, whatever their number; else as often as a beat is due. */
  async #rescue(): Promise<number> {
    // Decided on the very client: it may have to be opened first, and then this worker was out of touch.
    const { connection } = this.control
    const rescue = await connection.use((client) => this.#beatOn(connection.on(client)))
    const { epoch, others, busy, workers, requeued, buried, cancelled, silentForMs } = rescue
    this.#inTouchAt = performance.now()
    if (silentForMs > this.options.leaseMs) this.#judgesSilentFrom = performance.now() + this.options.leaseMs
    if (workers.length > 0) this.events.emit('workers.rescued', { workers, requeued, buried })
    if (requeued > 0) this.charge.jobsCameBack()
    if (workers.length > 0) this.look() // what is parked behind jobs that they had ended
    if (cancelled.length > 0) this.charge.cancel(new Set(cancelled))
    if (epoch === null) {
      await this.charge.declaredDead()
      return 0
    }
    if (epoch !== this.#epoch) {
      this.#epoch = epoch
      this.#settledAt = performance.now() + SETTLE_IN_MS
    }
    this.#others = Math.max(others - workers.length, 0)
    if (busy > 0) this.#alertUntil = performance.now() + ALERT_MS
    const cancelMs = this.#cancelAgainAt - performance.now()
    const beatMs = cancelMs > 0 ? Math.min(cancelMs, this.#beatMs) : this.#beatMs
    const isAlert = this.#others > 0 && performance.now() < this.#alertUntil
    if (!isAlert) return beatMs
    const turnMs = 'rank' in rescue ? nextTurnMs(rescue) : Math.max(this.#judgesFrom - performance.now(), 0)
    return Math.min(turnMs, beatMs)
  }

  /**
   * Beats, and rescues. What cut this worker off may have cut off all of them, and they come back one by one: then nobody is
   * judged until they had the time. Else each short outage would be everybody's crash, and all that runs would run twice.
   */
  async #beatOn(executor: Executor) {
    const { schema, maxCrashes } = this.options
    const { workerId } = this.session
    if (performance.now() < this.#judgesFrom) {
      const { epoch = null, others = 0 } = (await beat(executor, schema, workerId)) ?? {}
      return { epoch, others, busy: 1, workers: [], requeued: 0, buried: 0, cancelled: [], silentForMs: 0 }
    }
    const settledOn = performance.now() > this.#settledAt ? this.#epoch : null
    const judgesSilent = performance.now() > this.#judgesSilentFrom
    const request = { workerId, maxCrashes, settledOn, judgesSilent }
    try {
      const rescue = await rescueLostWorkers(executor, schema, { ...request, maxLeases: this.#maxLeases })
      this.#maxLeases = Math.min(this.#maxLeases * 2, MOST_LEASES)
      return rescue
    } catch (error) {
      if (!isRefusal(error) && !isCancelled(error)) throw error
      // A job of a lost worker cannot be written, or all of them take too long. They go back one lease at a time, and all else goes on.
      this.#maxLeases = 1
      this.backoff.failed(error) // tells
      return await rescueLostWorkers(executor, schema, { ...request, maxLeases: 0 })
    }
  }

  /** Instead of hearing them tell: a look is cheaper than a rescue, and does not write. */
  async #lookAtOthers(): Promise<number> {
    const { others, busy } = await lookAtOthers(this.connection, this.options.schema, this.session.workerId)
    this.#others = others
    if (busy) this.othersStir()
    return DEAF_LOOK_MS
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

/** Ms until this worker's next turn: all workers take theirs evenly, by the server's clock. One that is lost leaves one gap. */
function nextTurnMs({ others, rank, clockMs }: Rescue): number {
  const round = RESCUE_MS * others
  const mine = (round * rank) / (others + 1)
  const ms = (((mine - clockMs) % round) + round) % round
  return ms < RESCUE_MS / 4 ? ms + round : ms
}
