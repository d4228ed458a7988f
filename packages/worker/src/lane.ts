import {
  CancelledError,
  type ClaimRequest,
  type ConcurrencyPlace,
  concurrencyOf,
  type Handler,
  LostLeaseError,
  type PgqError,
  SUSPECT_CRASHES,
} from '@pgq/core'
import type { Backoff } from './backoff.js'
import { BatchSize } from './batch-size.js'
import { ClaimCursor } from './claim-cursor.js'
import type { Claim, DeliveryMode, Found } from './delivery/delivery-mode.js'
import type { Events } from './events.js'
import type { ResolvedOptions } from './options.js'
import { JobRun, type RunHost } from './run-job.js'
import { RunningJobs } from './running-jobs.js'
import type { SettledRuns } from './settled-runs.js'
import { WaitingJobs } from './waiting-jobs.js'
import { WakeUp } from './wake-up.js'

/** A claimed job that has waited this long for a slot goes back, so that another worker can take it, in ms. */
const STALE_MS = 1_000

/**
 * How long a claim that found several jobs, and all there were, lets the next ones gather, in ms. Twenty callers and one worker on
 * two cores: 0.20 statements and 176 us of CPU a job without it, 0.09 and 110 with it, and 1.5 times as many jobs.
 */
const GATHER_MS = 3

/** A claim that finds so many jobs, and all it asked for, is followed by two at a time. */
const STREAM = 100

/**
 * After a sleep this long, in ms, a single job is all there was, and whoever enqueues the next one rings: the claim that finds nothing is
 * spared. In a stream it is not, so that the bell comes down and costs the callers nothing.
 */
const LULL_MS = 10

/** idle: nothing was found. full: no slot to fill, or the last claim failed. gathering: a stream of jobs was found. */
interface Rest {
  readonly why: 'idle' | 'full' | 'gathering'
  readonly wakeUp: WakeUp
}

/** What a lane asks of the worker around it. */
export interface LaneHost {
  readonly workerId: number
  /** The doorbell hangs: an enqueue rings. */
  readonly isHung: boolean
  readonly settled: SettledRuns
  /** The lane found nothing to claim and sleeps until it is rung. */
  idle(): void
  /** A job of a concurrency key has ended. */
  freed(place: ConcurrencyPlace): void
  /** The lane found jobs; full: as many as it asked for, so there may be more. */
  busy(full: boolean): void
}

/**
 * The loop of one delivery mode: claim what fits, start it, wait for a slot, a ring or the next poll. While handlers run, the
 * next batch is claimed.
 */
export class Lane {
  readonly running = new RunningJobs()
  /** Jobs that were started and are not settled yet. */
  #open = 0
  readonly #drained = new WakeUp()
  /** The loop when it rests, and a claim of a suspect that failed. */
  readonly #resting: Rest[] = []
  #missedRing = false
  readonly #cursor: ClaimCursor
  readonly #size: BatchSize
  readonly #handlers: Map<string, Handler>
  /** What it runs. */
  readonly tasks: readonly string[]
  readonly #concurrency: number
  readonly #runHost: RunHost
  readonly #waiting = new WaitingJobs()
  /** Jobs that were asked for by claims under way. */
  #asked = 0
  /** Nothing is claimed: the worker runs suspects, or is about to. */
  #paused = false
  readonly #calm = new WakeUp()
  #claimingSuspect: Promise<unknown> | undefined
  /** Where a job of a concurrency key has ended, and the next one has not been asked for yet. */
  readonly #freed = new Map<string, ConcurrencyPlace>()
  #isClaimingFreed = false
  #claimingFreed: Promise<unknown> | undefined
  #stopping = false
  #looping: Promise<unknown> | undefined

  constructor(
    private readonly mode: DeliveryMode,
    private readonly options: ResolvedOptions,
    private readonly events: Events,
    private readonly backoff: Backoff,
    private readonly host: LaneHost,
  ) {
    this.#handlers = new Map([...options.handlers].filter(([, { task }]) => task.mode === mode.name))
    this.tasks = [...this.#handlers.keys()]
    this.#concurrency = options.concurrency[mode.name]
    this.#cursor = new ClaimCursor(options.queues)
    this.#size = new BatchSize(this.#concurrency, options.maxBatch)
    this.#runHost = {
      ...{ mode, events, around: options.around, settled: host.settled },
      ended: (run, ms) => {
        this.#size.ran(ms)
        this.#freeSlot(run)
      },
      closed: (run) => this.#closed(run),
    }
  }

  /** Its claims delete the jobs. */
  get deletes(): boolean {
    return !this.mode.mayRetry
  }

  start(): void {
    this.#looping = this.#loop()
  }

  /** Look for jobs. rescan: also where the cursor has been. */
  ring(rescan = false): void {
    if (rescan) this.#cursor.reset()
    if (!this.#wake('idle')) this.#missedRing = true
  }

  /** Stops claiming and gives back what has not started. Resolves when no more jobs will start. */
  async stop(): Promise<void> {
    this.#stopping = true
    this.#ringAll()
    this.#calm.ring()
    await Promise.all([this.#looping, this.#claimingSuspect, this.#claimingFreed])
    await this.#releaseWaiting()
  }

  /** Claims no more. Resolves to true when nothing runs here and nothing is held; to false when that takes longer than ms, or the lane stops. */
  async pause(ms: number): Promise<boolean> {
    this.#paused = true
    const deadline = performance.now() + ms
    while (!this.isCalm && !this.#stopping && performance.now() < deadline)
      await this.#calm.wait(deadline - performance.now())
    if (!this.isCalm) return false
    await this.mode.drain()
    return true
  }

  resume(): void {
    this.#paused = false
    this.#ringAll()
    this.claimParked([])
  }

  /**
   * Between pause and resume: runs suspects, one after the other, until none is left or the lane stops. Each of them once: one that
   * comes back again and again, without a delay, would keep all other jobs waiting.
   */
  async runSuspects(): Promise<void> {
    const seen = new Set<string>()
    for (let found = true; found; ) {
      const claiming = this.#claimSuspect(seen)
      this.#claimingSuspect = claiming
      found = await claiming
      while (this.#open > 0) await this.#calm.wait(Number.POSITIVE_INFINITY)
      await this.mode.drain()
    }
  }

  /** Resolves when every started handler has ended and its job is settled. */
  async drain(): Promise<void> {
    while (this.#open > 0) await this.#drained.wait(Number.POSITIVE_INFINITY)
    await this.mode.drain()
  }

  abort(reason: (run: JobRun) => PgqError): void {
    for (const run of this.running) run.abort(reason(run))
  }

  /** Fewer jobs of these concurrency keys run than may: claims the next ones that are parked. */
  claimParked(places: readonly ConcurrencyPlace[]): void {
    if (!this.mode.claimParked) return
    for (const { queue, key } of places) this.#freed.set(JSON.stringify([queue, key]), { queue, key })
    if (!this.#isClaimingFreed) this.#claimingFreed = this.#claimFreed()
  }

  /** Aborts these jobs where they run, and gives those back that have not started: they end where they are put. */
  cancel(jobIds: ReadonlySet<string>): void {
    for (const run of this.running) {
      const { id } = run.claim.job
      if (jobIds.has(id)) run.abort(new CancelledError(id))
    }
    for (const run of this.#waiting.takeOf(jobIds)) void run.release()
    this.#ringCalm()
  }

  /** The worker was taken for dead: all leases were given away. What a claim deleted is nowhere else, and goes on here. */
  loseAll(): void {
    this.#cursor.reset()
    if (!this.mode.mayRetry) return
    this.#waiting.takeAll()
    this.#ringCalm()
    this.abort((run) => new LostLeaseError(run.label.jobId))
  }

  #ringAll(): void {
    for (const { wakeUp } of this.#resting) wakeUp.ring()
  }

  /** Nothing runs, waits for a slot, or is being claimed. */
  get isCalm(): boolean {
    return this.#open === 0 && this.#waiting.size === 0 && this.#asked === 0
  }

  /** Starts one suspect. False: there is none that was not seen before, or the lane stops. */
  async #claimSuspect(seen: Set<string>): Promise<boolean> {
    if (this.#stopping) return false
    const { workerId } = this.host
    try {
      const request = { workerId, queues: this.options.queues, tasks: this.tasks }
      const runs = this.#take(await this.mode.claimSuspect(request))
      this.backoff.succeeded()
      // An earlier claim whose answer was lost may turn up instead, with many jobs: those run later, beside others.
      const isSuspect = runs.length === 1 && runs[0]!.claim.job.crashCount >= SUSPECT_CRASHES
      const isBack = isSuspect && seen.has(runs[0]!.claim.job.id)
      for (const { claim } of runs) seen.add(claim.job.id)
      if (isSuspect && !isBack && !this.#stopping) this.#start(runs[0]!)
      else await Promise.all(runs.map((run) => run.release()))
      return runs.length > 0 && !isBack
    } catch (error) {
      await this.#park('full', this.backoff.failed(error))
      return true
    }
  }

  async #loop(): Promise<void> {
    let sleptMs = 0
    while (!this.#stopping) {
      const limit = this.#limit()
      if (limit === 0) {
        await this.#sleep('full')
        continue
      }
      const isLull = this.host.isHung && sleptMs >= LULL_MS
      sleptMs = 0
      const found = await this.#claim(limit)
      if (found === 'failed') continue
      if (found === limit && found >= STREAM) await this.#stream()
      const isLone = found === 1 && limit > 1 && isLull
      if (found > 1 && found < limit) await this.#park('gathering', GATHER_MS)
      if (found > 0 && !isLone) continue
      if (this.#missedRing) this.#missedRing = false
      else if (!this.#stopping) {
        this.host.idle()
        const start = performance.now()
        await this.#sleep('idle')
        sleptMs = performance.now() - start
      }
    }
  }

  /**
   * Claims as long as each claim finds what it asked for, two at a time: the server works on one while the answer to the other is taken
   * apart. 100,000 jobs that do nothing, two cores: 81,000-92,000/s one at a time, 117,000-136,000 so.
   */
  async #stream(): Promise<void> {
    let isFull = true
    const claimOn = async () => {
      while (isFull && !this.#stopping) {
        const limit = Math.min(this.#limit(), this.#size.half)
        if (limit === 0) await this.#sleep('full')
        else if ((await this.#claim(limit)) !== limit) isFull = false
      }
      this.#wake('full') // the other one, should it wait for room
    }
    await Promise.all([claimOn(), claimOn()])
  }

  /** Sleeps until rung, or until what was claimed and not started is stale: then it goes back. */
  async #sleep(why: Rest['why']): Promise<void> {
    await this.#park(why, this.#waiting.size > 0 ? STALE_MS : Number.POSITIVE_INFINITY)
    await this.#releaseStale()
  }

  async #park(why: Rest['why'], ms: number): Promise<void> {
    const rest = { why, wakeUp: new WakeUp() }
    this.#resting.push(rest)
    await rest.wakeUp.wait(ms)
    this.#resting.splice(this.#resting.indexOf(rest), 1)
  }

  /** False: nothing rests there. */
  #wake(why: Rest['why']): boolean {
    const resting = this.#resting.filter((rest) => rest.why === why)
    for (const { wakeUp } of resting) wakeUp.ring()
    return resting.length > 0
  }

  async #claim(limit: number): Promise<number | 'failed'> {
    const start = performance.now()
    this.#asked += limit
    const { rescan, ...ranges } = this.#cursor.ranges(start)
    const { workerId } = this.host
    const { tasks } = this
    const request: ClaimRequest = { workerId, ...ranges, tasks, limit, maxBytes: this.options.maxBatchBytes }
    let found: Found
    try {
      found = await this.mode.claim(request)
    } catch (error) {
      this.#answered(limit)
      this.#cursor.reset()
      this.#size.failed(limit)
      if (!this.#stopping) await this.#park('full', this.backoff.failed(error))
      return 'failed'
    }
    this.#answered(limit)
    const durationMs = performance.now() - start
    this.backoff.succeeded()
    const { parked } = found
    const runs = this.#take(found)
    const jobs = runs.map(({ claim }) => claim.job)
    this.#cursor.advance(jobs, rescan, performance.now(), durationMs)
    const count = runs.length + parked
    if (count === 0) return 0
    this.#size.claimed(count)
    if (runs.length > 0) this.events.emit('jobs.claimed', { mode: this.mode.name, jobs: runs.length, durationMs })
    this.host.busy(count >= limit)
    this.#waiting.add(runs)
    this.#startWaiting()
    return count
  }

  /** Claims what is parked behind jobs that have ended, before anything else: its turn had come before. */
  async #claimFreed(): Promise<void> {
    this.#isClaimingFreed = true
    while (this.#freed.size > 0 && !this.#stopping && !this.#paused) {
      const places = [...this.#freed.values()]
      this.#freed.clear()
      const limit = Math.min(Math.max(this.#concurrency, places.length), this.options.maxBatch)
      this.#asked += limit
      const start = performance.now()
      try {
        const { workerId } = this.host
        const knownTasks = [...this.options.handlers.keys()]
        const request = { workerId, tasks: this.tasks, knownTasks, places, limit, maxBytes: this.options.maxBatchBytes }
        const runs = this.#take(await this.mode.claimParked!(request))
        this.backoff.succeeded()
        const durationMs = performance.now() - start
        if (runs.length > 0) {
          this.events.emit('jobs.claimed', { mode: this.mode.name, jobs: runs.length, durationMs })
          this.host.busy(false)
        }
        this.#waiting.addFirst(runs)
      } catch (error) {
        await this.#park('full', this.backoff.failed(error)) // they are found by the next look, too
      }
      this.#answered(limit)
      this.#startWaiting()
    }
    this.#isClaimingFreed = false
  }

  /** What a claim found, of which some may have to go back. */
  #take({ claims, unparked }: Found): JobRun[] {
    for (const claim of unparked) void this.#runOf(claim).release()
    return claims.map((claim) => this.#runOf(claim))
  }

  #answered(limit: number): void {
    this.#asked -= limit
    this.#ringCalm()
  }

  #startWaiting(): void {
    while (this.running.size < this.#concurrency && !this.#stopping) {
      const next = this.#waiting.take()
      if (!next) return
      this.#start(next)
    }
  }

  #start(run: JobRun): void {
    this.running.add(run)
    this.#open += 1
    if (run.claim.begin) void this.#startInTurn(run)
    else run.run()
  }

  async #startInTurn(run: JobRun): Promise<void> {
    if ((await run.begin()) && !this.#stopping) return run.run()
    await run.release()
    this.#closed(run)
  }

  #closed(run: JobRun): void {
    this.#freeSlot(run)
    this.#open -= 1
    const place = concurrencyOf(run.claim.job)
    if (place) this.host.freed(place)
    if (this.#open > 0) return
    this.#drained.ring()
    this.#ringCalm()
  }

  #freeSlot(run: JobRun): void {
    if (!this.running.delete(run)) return
    this.#startWaiting()
    if (this.#limit() > 0) this.#wake('full')
  }

  /** How many jobs to claim now; 0: not yet. */
  #limit(): number {
    return this.#paused ? 0 : this.#size.next(this.running.size, this.#waiting.size + this.#asked)
  }

  async #releaseStale(): Promise<void> {
    if (!this.#waiting.isOlderThan(performance.now() - STALE_MS)) return
    this.#size.stalled(STALE_MS)
    await this.#releaseWaiting()
  }

  async #releaseWaiting(): Promise<void> {
    const waiting = this.#waiting.takeAll()
    this.#ringCalm()
    await Promise.all(waiting.map((run) => run.release()))
  }

  /** Something ended that a pause may wait for. */
  #ringCalm(): void {
    if (this.#paused) this.#calm.ring()
  }

  #runOf(claim: Claim): JobRun {
    return new JobRun(claim, this.#handlers.get(claim.job.task)!, this.#runHost)
  }
}
