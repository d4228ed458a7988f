import { hostname } from 'node:os'
import {
  type ConcurrencyPlace,
  type DeliveryModeName,
  InvalidOptionError,
  registerWorker,
  removeWorker,
  WorkerStoppingError,
} from '@pgq/core'
import { Acknowledger } from './acknowledger.js'
import { Backoff, Outage } from './backoff.js'
import { Caretaker } from './caretaker.js'
import { type Connection, explainUnreachable } from './connection.js'
import { Control } from './control.js'
import { endsWithin } from './delay.js'
import { AtLeastOnce } from './delivery/at-least-once.js'
import { AtMostOnce } from './delivery/at-most-once.js'
import type { DeliveryMode } from './delivery/delivery-mode.js'
import { Transactional } from './delivery/transactional.js'
import { Events, type JobLabel, type WorkerEvents } from './events.js'
import { Lane } from './lane.js'
import { logEvents, silentLogger } from './logger.js'
import { type ResolvedOptions, resolveOptions, type WorkerOptions } from './options.js'
import { probe } from './probe.js'
import { Rescuer } from './rescuer.js'
import { Session, STATEMENT_DEADLINE_MS } from './session.js'
import { SettledRuns } from './settled-runs.js'
import { StandIn } from './stand-in.js'
import { Stats } from './stats.js'
import { onStopSignals } from './stop-signals.js'

/** After a busy spell of this length the worker takes its doorbell down: enqueues need not ring for what it finds anyway. */
const BUSY_MS = 100
/** A worker that goes on and on says so this often, so that others look whether it still lives, in ms. */
const TELL_MS = 5_000
/** How long what runs may hold up a suspect that wants to run alone, and with it all claims of this worker, in ms. */
const CALM_MS = 5_000
/** How long each step of a stop may take beside graceMs, in ms: a handler that ignores its abort is given up after half of it. */
const STEP_MS = 2_000

/** A worker: runs jobs from start() to stop(). */
export interface Worker {
  /** Changes when the worker was taken for dead and started anew; 0 before start(). */
  readonly id: number
  /** The jobs whose handlers run here now. */
  readonly running: readonly JobLabel[]
  /**
   * Connects, registers and begins to claim. Rejects when the database cannot be reached or is not migrated, and when it was called before. When stop() comes
   * meanwhile, it resolves with that.
   */
  start(): Promise<void>
  /**
   * Stops claiming, gives back what has not started, lets handlers end (graceMs), aborts the rest, and closes every
   * connection. Safe to call twice: both calls resolve when it is done. Jobs that did not end keep their attempts; an at-most-once
   * job that did not end is a dead letter.
   */
  stop(): Promise<void>
  /** Calls the observer on each such event; answers how to stop that. Throws InvalidOptionError when there is no such event. */
  on<Name extends keyof WorkerEvents>(name: Name, observer: (event: WorkerEvents[Name]) => void): () => void
}

/** Makes a worker for the given handlers. Throws InvalidOptionError; nothing is connected before start(). */
export const createWorker = (options: WorkerOptions): Worker => new RunningWorker(resolveOptions(options))

class RunningWorker implements Worker {
  readonly #events: Events
  readonly #settled: SettledRuns
  readonly #session: Session
  readonly #outage: Outage
  readonly #standIn: StandIn
  #control!: Control
  #caretaker!: Caretaker
  #rescuer!: Rescuer
  #stats: Stats | undefined
  #lanes: Lane[] = []
  #started = false
  #starting: Promise<void> = Promise.resolve()
  #stopped: Promise<void> | undefined
  #forgetSignals = () => {}
  #busySince: number | undefined
  #toldAt = Number.NEGATIVE_INFINITY
  #settlements!: Connection
  #idleLanes = new Set<Lane>()
  #isAlone = false

  constructor(private readonly options: ResolvedOptions) {
    this.#events = new Events((error, event) => options.logger.error({ err: error, event }, 'an observer threw'))
    this.#settled = new SettledRuns(this.#events)
    if (options.logger !== silentLogger) logEvents(this.#events, options.logger)
    this.#outage = new Outage(this.#events)
    this.#session = new Session(options)
    this.#standIn = new StandIn({
      stoodIn: (blockedForMs) => this.#events.emit('worker.blocked', { workerId: this.id, blockedForMs }),
      failed: (error) => this.#events.emit('capability.missed', { capability: 'standIn', error }),
    })
    // A lease that is lost: learn at once whether all of them are, so that the other handlers can stop.
    this.#events.on('job.lost', () => this.#rescuer.beat())
    // A transaction that was undone leaves its job where it was, and nobody rings for it.
    this.#events.on('job.unsettled', () => this.#lookAgain())
  }

  get id(): number {
    return this.#session.workerId
  }

  get running(): readonly JobLabel[] {
    return this.#lanes.flatMap((lane) => [...lane.running].map(({ label }) => label))
  }

  on<Name extends keyof WorkerEvents>(name: Name, observer: (event: WorkerEvents[Name]) => void): () => void {
    return this.#events.on(name, observer)
  }

  async start(): Promise<void> {
    if (this.#started) throw new InvalidOptionError('This worker was started before: create a new one.')
    this.#started = true
    const modes = this.#assemble()
    this.#starting = this.#connect(modes)
    try {
      await this.#starting
    } catch (error) {
      if (this.#stopped) return this.#stopped
      this.#control.close()
      this.#stopped = this.#session.close()
      await this.#stopped
      throw explainUnreachable(error, this.#session.config)
    }
    if (this.#stopped) return this.#stopped
    if (this.options.handleSignals) this.#forgetSignals = onStopSignals(() => this.stop())
    const { queues, handlers } = this.options
    this.#events.emit('worker.started', { workerId: this.id, queues, tasks: [...handlers.keys()] })
    const { schema, leaseMs, maxBlockedMs } = this.options
    const { config, locks } = this.#session
    void this.#standIn.start({ config, schema, locks, leaseMs, maxBlockedMs })
    this.#caretaker.start()
    this.#rescuer.start()
    for (const lane of this.#lanes) lane.start()
  }

  async #connect(modes: readonly DeliveryMode[]): Promise<void> {
    await Promise.all([this.#probe(), ...modes.map((mode) => mode.load?.())])
    await this.#register()
    await this.#rescuer.rescueFirst()
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#started ? this.#shutDown() : Promise.resolve()
    this.#started = true
    return this.#stopped
  }

  #assemble(): DeliveryMode[] {
    const { schema, concurrency, transactionalGroup, modes } = this.options
    this.#control = new Control(this.#session, this.options, this.#events, {
      rung: () => this.#rung(),
      othersStir: () => this.#rescuer.othersStir(),
      cancelRequested: () => this.#rescuer.cancelRequested(),
      reconnected: () => this.#reconnected(),
    })
    const claims = this.#session.open({ settings: 'set synchronous_commit = off', pipeline: true })
    const durableClaims = modes.includes('at-most-once') ? this.#session.open({ pipeline: true }) : claims
    const settlements = this.#session.open()
    this.#settlements = settlements
    const { options } = this
    this.#rescuer = new Rescuer(options, this.#session, settlements, this.#control, this.#events, this.#backoff(), {
      jobsCameBack: () => this.#lookAgain(),
      workersLost: () => this.#caretaker.lookForParked(),
      cancel: (jobIds) => {
        for (const lane of this.#lanes) lane.cancel(jobIds)
      },
      declaredDead: () => this.#startAnew(),
    })
    this.#caretaker = new Caretaker(
      options,
      this.#session,
      settlements,
      this.#control,
      this.#rescuer,
      this.#events,
      this.#backoff(),
      this.#charge(),
    )
    const acknowledger = new Acknowledger(schema, settlements, this.#backoff())
    const leasing = { schema, connection: claims, acknowledger, session: this.#session }
    const make: Record<DeliveryModeName, () => DeliveryMode> = {
      'at-least-once': () => new AtLeastOnce(leasing),
      'at-most-once': () => new AtMostOnce(schema, durableClaims, settlements, this.#backoff(), this.#session),
      transactional: () =>
        new Transactional(
          leasing,
          this.#handlerConnections(concurrency.transactional),
          this.#backoff(),
          transactionalGroup,
        ),
    }
    if (this.options.stats) this.#stats = new Stats(schema, this.#control.connection, this.options.logger, this.#events)
    const deliveries = modes.map((mode) => make[mode]())
    this.#lanes = deliveries.map((mode) => this.#lane(mode))
    return deliveries
  }

  #lane(mode: DeliveryMode): Lane {
    const session = this.#session
    const control = this.#control
    const lane: Lane = new Lane(mode, this.options, this.#events, this.#backoff(), {
      get workerId() {
        return session.workerId
      },
      get isHung() {
        return control.isHung
      },
      settled: this.#settled,
      freed: (place) => this.#claimParked([place]),
      idle: () => this.#laneIdle(lane),
      busy: (full) => this.#laneBusy(lane, full),
    })
    return lane
  }

  #backoff = (): Backoff => new Backoff(this.#outage)

  #handlerConnections(count: number): Connection[] {
    return Array.from({ length: count }, () => this.#session.openForHandlers())
  }

  #charge() {
    const worker = this
    return {
      get isIdle() {
        return worker.#idleLanes.size === worker.#lanes.length
      },
      get idleTasks() {
        return [...worker.#idleLanes].flatMap(({ tasks }) => tasks)
      },
      get isAlone() {
        return worker.#isAlone
      },
      get isCalm() {
        return worker.#lanes.every((lane) => lane.isCalm)
      },
      jobsCameBack: () => this.#lookAgain(),
      runSuspects: () => this.#runSuspects(),
      claimParked: (places: readonly ConcurrencyPlace[]) => this.#claimParked(places),
    }
  }

  async #probe(): Promise<void> {
    const { locks, listens } = await probe(this.#session, this.options, this.#control.connection, this.#settlements)
    this.#session.locks = locks
    this.#control.listens = listens
    if (!locks) this.#events.emit('capability.missed', { capability: 'locks' })
    if (this.options.doorbell && !listens) this.#events.emit('capability.missed', { capability: 'notify' })
  }

  async #register(): Promise<void> {
    const { schema, queues, handlers, leaseMs } = this.options
    const { locks } = this.#session
    const { listens, connection } = this.#control
    const labels = { hostname: hostname(), pid: process.pid, queues, tasks: [...handlers.keys()] }
    const id = await registerWorker(connection, schema, { ...labels, locks, listens, leaseMs })
    // Also those that a lane that was still claiming opened meanwhile.
    await this.#session.registered(id, connection)
    this.#standIn.workerId = id
    await this.#control.listenAsWorker()
  }

  #rung(): void {
    for (const lane of this.#lanes) lane.ring()
    this.#caretaker.look(true)
  }

  #lookAgain(): void {
    for (const lane of this.#lanes) lane.ring(true)
  }

  #reconnected(): void {
    this.#rescuer.reconnected()
    this.#lookAgain()
  }

  /** The next one in line may be of another mode. */
  #claimParked(places: readonly ConcurrencyPlace[]): void {
    for (const lane of this.#lanes) lane.claimParked(places)
  }

  #laneIdle(lane: Lane): void {
    this.#idleLanes.add(lane)
    if (this.#idleLanes.size < this.#lanes.length) return
    this.#busySince = undefined
    void this.#fallAsleep()
  }

  /** Hang up the doorbell, then look once more before sleeping, or an enqueue in between is missed. */
  async #fallAsleep(): Promise<void> {
    try {
      if (await this.#control.hang()) this.#lookAgain()
      else if (this.#control.isHung) return
    } catch {
      // The doorbell is a hint: polling goes on.
    }
    this.#caretaker.look()
  }

  #laneBusy(lane: Lane, full: boolean): void {
    this.#idleLanes.delete(lane)
    const now = performance.now()
    this.#busySince ??= now
    if ((full || now - this.#busySince > BUSY_MS) && this.#control.isHung) {
      this.#control.take(full).catch(() => {})
      this.#caretaker.look()
    }
    if (now - this.#toldAt > TELL_MS && this.#rescuer.others > 0) {
      this.#toldAt = now
      this.#control.tell().catch(() => {})
    }
  }

  /**
   * Jobs that may have taken workers down run one at a time, with nothing beside them: the next crash tells which one it was. False: what
   * runs here did not end soon enough.
   */
  async #runSuspects(): Promise<boolean> {
    this.#isAlone = true
    // Not idle: an enqueue must ring somebody else.
    this.#idleLanes.clear()
    this.#control.take(true).catch(() => {})
    try {
      const calm = await Promise.all(this.#lanes.map((lane) => lane.pause(CALM_MS)))
      if (calm.includes(false)) return false
      for (const lane of this.#lanes) await lane.runSuspects()
      return true
    } catch {
      return true // without the database, nothing else would be claimed either; they are found again when it is back
    } finally {
      this.#isAlone = false
      for (const lane of this.#lanes) lane.resume()
      this.#caretaker.look()
    }
  }

  /** The others gave all our jobs away: drop what we hold and go on under a new id. */
  async #startAnew(): Promise<void> {
    const workerId = this.id
    for (const lane of this.#lanes) lane.loseAll()
    this.#session.workerId = 0
    this.#standIn.workerId = 0
    await this.#session.reset()
    await this.#register()
    this.#events.emit('worker.replaced', { workerId, newWorkerId: this.id })
    this.#lookAgain()
  }

  async #shutDown(): Promise<void> {
    this.#events.emit('worker.stopping', { workerId: this.id, running: this.running.length })
    // Failures count as ended: the rescue finds what they left.
    await endsWithin(STEP_MS, this.#starting)
    const stops = this.#lanes.map((lane) => lane.stop())
    // What a claim has deleted is nowhere else: not before it is answered, and what it brought is back.
    const answered = endsWithin(
      STATEMENT_DEADLINE_MS,
      Promise.all(stops.filter((_, index) => this.#lanes[index]!.deletes)),
    )
    await endsWithin(STEP_MS, Promise.all(stops))
    const drained = Promise.all(this.#lanes.map((lane) => lane.drain()))
    if (!(await endsWithin(this.options.graceMs, drained))) {
      for (const lane of this.#lanes) lane.abort(() => new WorkerStoppingError())
      await endsWithin(STEP_MS, drained)
    }
    await endsWithin(STEP_MS, Promise.all([this.#caretaker.stop(), this.#rescuer.stop()]))
    this.#standIn.stop()
    this.#settled.tell()
    if (this.#stats) await endsWithin(STEP_MS, this.#stats.stop())
    await answered
    await endsWithin(STEP_MS, removeWorker(this.#control.connection, this.options.schema, { workerId: this.id }))
    this.#control.close()
    await this.#session.close()
    this.#forgetSignals()
    this.#events.emit('worker.stopped', { workerId: this.id })
  }
}
