import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DeliveryModeName } from '@pgq/core'
import { now } from './clock.js'
import { percentiles } from './statistics.js'
import { type SystemName, systemEntry } from './systems/index.js'
import type { Handler, NewJob, Place, Producer, Runner, System } from './systems/system.js'

const TICK_MS = 10

export interface LoadOrder {
  readonly system: SystemName
  readonly place: Place
}

/** What the handler of the measured worker does. */
export type Work = 'nothing' | 'insert' | { readonly sleepMs: number }

export interface WorkOrder {
  readonly mode?: DeliveryModeName
  readonly work?: Work
  readonly concurrency?: number | undefined
  /** Numbers of runs at which to tick exactly. */
  readonly marks?: readonly number[]
}

export interface FillOrder {
  readonly jobs: number
  readonly chunk?: number
  readonly argsBytes?: number
  readonly queue?: string
  readonly delayMs?: number
  /** Spread evenly over this many priorities, from 0 up. */
  readonly priorities?: number
}

export interface EnqueueOrder {
  readonly durationMs: number
  readonly inFlight: number
  readonly argsBytes?: number
}

export interface EnqueueReport {
  readonly jobs: number
  readonly ms: number
  /** Of this process; a program that brings its own loop uses another one. */
  readonly cpuUs: number | undefined
  /** How long single calls took, ms. */
  readonly p50: number
  readonly p99: number
}

/** How far this process is. */
export interface Tick {
  /** When, by the clock that all processes share. */
  readonly at: number
  /** Handler runs begun. */
  readonly runs: number
  readonly enqueued: number
  readonly cpuUs: number
  readonly rssBytes: number
}

/** Produces or works for one system. Each method is a command of the bench. */
export class Load {
  readonly #place: Place
  readonly #system: Promise<System>
  readonly #ticking: NodeJS.Timeout
  readonly #started: Runner[] = []
  #producer: Promise<Producer> | undefined
  #runs = 0
  #enqueued = 0
  #marks: number[] = []
  #latencies: number[] = []

  constructor(
    { system, place }: LoadOrder,
    private readonly onTick: (tick: Tick) => void,
  ) {
    this.#place = place
    this.#system = systemEntry(system).load()
    this.#ticking = setInterval(() => this.#tick(), TICK_MS)
  }

  /** Resolves when the system's packages are loaded. */
  async ready() {
    await this.#system
  }

  async prepare() {
    await (await this.#system).prepare(this.#place)
  }

  async unfinished() {
    return (await this.#producing()).unfinished()
  }

  /** Writes a backlog and answers how long that took, ms. */
  async fill({ jobs, chunk = 10_000, argsBytes = 100, queue, delayMs, priorities = 1 }: FillOrder) {
    const { enqueueMany } = await this.#producing()
    const newJob = (n: number): NewJob => ({ args: argsOf(n, argsBytes), queue, delayMs, priority: n % priorities })
    let ms = 0
    for (let done = 0; done < jobs; done += chunk) {
      const size = Math.min(chunk, jobs - done)
      const created = Array.from({ length: size }, (_, i) => newJob(done + i))
      const start = now()
      await enqueueMany(created)
      ms += now() - start
      this.#enqueued += size
    }
    this.#tick()
    return ms
  }

  /** So many callers, each with one call under way at a time. */
  async enqueueFor({ durationMs, inFlight, argsBytes = 100 }: EnqueueOrder): Promise<EnqueueReport> {
    const { enqueue, enqueueFor } = await this.#producing()
    const cpu = process.cpuUsage()
    const start = now()
    const end = start + durationMs
    const took: number[] = []
    let jobs = 0
    const caller = async () => {
      while (now() < end) {
        const called = now()
        await enqueue(argsOf(jobs, argsBytes))
        took.push(now() - called)
        jobs++
        this.#enqueued++
      }
    }
    if (enqueueFor) {
      jobs = await enqueueFor(durationMs, inFlight)
      this.#enqueued += jobs
    } else {
      await Promise.all(Array.from({ length: inFlight }, caller))
    }
    const cpuUs = enqueueFor ? undefined : sum(process.cpuUsage(cpu))
    const ms = now() - start
    this.#tick()
    return { jobs, ms, cpuUs, ...percentiles(took) }
  }

  /** One job at a time, at a steady pace, each with the time of its call. */
  async enqueueEvery({ everyMs, jobs, priority }: { everyMs: number; jobs: number; priority?: number }) {
    const { enqueue } = await this.#producing()
    for (let n = 0; n < jobs; n++) {
      await sleep(everyMs)
      await enqueue({ calledAt: now() }, priority)
    }
  }

  /** Starts the worker. */
  async work({ mode = 'at-least-once', work = 'nothing', concurrency, marks = [] }: WorkOrder) {
    this.#marks = [...marks]
    const system = await this.#system
    const handler = this.#counted(this.#handler(work))
    this.#started.push(await system.worker(this.#place, { mode, handler, concurrency }))
  }

  /** Is somebody to wake, and counts how often that happens as runs. */
  async listen() {
    const system = await this.#system
    this.#started.push(await system.listen!(this.#place, () => this.#runs++))
  }

  /** Resolves when that many jobs of enqueueEvery have begun. */
  async heard({ jobs }: { jobs: number }) {
    while (this.#latencies.length < jobs) await sleep(10)
  }

  /** How long they took from the call to the handler, ms. */
  async latencies() {
    return percentiles(this.#latencies)
  }

  async forget() {
    this.#latencies = []
  }

  async close() {
    clearInterval(this.#ticking)
    await Promise.all(this.#started.map((runner) => runner.stop()))
    await (await this.#producer)?.close()
  }

  #producing(): Promise<Producer> {
    this.#producer ??= this.#system.then((system) => system.producer(this.#place))
    return this.#producer
  }

  #handler(work: Work): Handler {
    if (work === 'nothing') return (args) => this.#noteLatency(args)
    if (work === 'insert') return async (_args, query) => void (await query!('insert into effects values (1)'))
    return () => sleep(work.sleepMs)
  }

  #noteLatency(args: { calledAt?: number }): void {
    if (args.calledAt) this.#latencies.push(now() - args.calledAt)
  }

  #counted(handler: Handler): Handler {
    return (args, query) => {
      this.#runs++
      if (this.#marks[0] !== undefined && this.#runs >= this.#marks[0]) {
        this.#marks.shift()
        this.#tick()
      }
      return handler(args, query)
    }
  }

  #tick(): void {
    this.onTick({
      at: now(),
      runs: this.#runs,
      enqueued: this.#enqueued,
      cpuUs: sum(process.cpuUsage()),
      rssBytes: process.memoryUsage.rss(),
    })
  }
}

// Text that the server cannot compress much, as little as it can most people's args.
const TEXT = randomBytes(30_000).toString('base64')

function argsOf(n: number, bytes: number): object {
  const start = n % 1_000
  return { n, text: TEXT.slice(start, start + bytes - 20) }
}

const sum = ({ user, system }: NodeJS.CpuUsage): number => user + system
