import { beat, type Executor, isRefusal, lookAtOthers, type Rescue, rescueLostWorkers } from '@pgq/core'
import type { Backoff } from './backoff.js'
import { Chores } from './chores.js'
import { type Connection, isCancelled } from './connection.js'
import type { Control } from './control.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'
import type { Session } from './session.js'
import { WakeUp } from './wake-up.js'

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
/** What was just being claimed when jobs were cancelled has begun by then, in ms. */
const CANCEL_AGAIN_MS = 1_000

/** Who is told of what it finds. */
export interface RescuerHost {
  /** Jobs of lost workers came back: look for them. */
  jobsCameBack(): void
  /** Workers were lost, and what is parked behind jobs that they had ended is nobody's now. */
  workersLost(): void
  /** These jobs were asked to end, wherever they are. */
  cancel(jobIds: ReadonlySet<string>): void
  /** The others took this worker for dead. */
  declaredDead(): Promise<void>
}

/** Says that this worker lives, rescues the jobs of those that do not any more, and learns of the others. */
export class Rescuer {
  #others = 0
  #alertUntil = 0
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
  #firstRescueMs = 0
  readonly #chores: Chores
  readonly #rescueNow = new WakeUp()
  readonly #othersNow = new WakeUp()

  constructor(
    private readonly options: ResolvedOptions,
    private readonly session: Session,
    private readonly connection: Connection,
    /** The rescue runs on its connection, so that one which is gone without a word is found out. */
    private readonly control: Control,
    private readonly events: Events,
    private readonly backoff: Backoff,
    private readonly host: RescuerHost,
  ) {
    this.#chores = new Chores(backoff)
  }

  /** How many other workers there are. */
  get others(): number {
    return this.#others
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
    this.#firstRescueMs = others > 0 || busy ? await this.#rescue() : this.#beatMs
  }

  start(): void {
    this.#chores.start(this.#rescueNow, () => this.#rescue(), this.#firstRescueMs)
    if (!this.control.listens) this.#chores.start(this.#othersNow, () => this.#lookAtOthers())
  }

  stop(): Promise<void> {
    return this.#chores.stop()
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

  /** While others hold jobs, every RESCUE_MS over all others together, whatever their number; else as often as a beat is due. */
  async #rescue(): Promise<number> {
    // Decided on the very client: it may have to be opened first, and then this worker was out of touch.
    const { connection } = this.control
    const rescue = await connection.use((client) => this.#beatOn(connection.on(client)))
    const { epoch, others, busy, workers, requeued, buried, cancelled, silentForMs } = rescue
    this.#inTouchAt = performance.now()
    if (silentForMs > this.options.leaseMs) this.#judgesSilentFrom = performance.now() + this.options.leaseMs
    if (workers.length > 0) this.events.emit('workers.rescued', { workers, requeued, buried })
    if (requeued > 0) this.host.jobsCameBack()
    if (workers.length > 0) this.host.workersLost()
    if (cancelled.length > 0) this.host.cancel(new Set(cancelled))
    if (epoch === null) {
      await this.host.declaredDead()
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
}

/** Ms until this worker's next turn: all workers take theirs evenly, by the server's clock. One that is lost leaves one gap. */
function nextTurnMs({ others, rank, clockMs }: Rescue): number {
  const round = RESCUE_MS * others
  const mine = (round * rank) / (others + 1)
  const ms = (((mine - clockMs) % round) + round) % round
  return ms < RESCUE_MS / 4 ? ms + round : ms
}
