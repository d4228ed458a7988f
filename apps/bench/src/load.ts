// The load: one process that produces or works for one system, told what to do by the bench over IPC.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { DeliveryModeName } from '@pgq/core'
import { now } from './clock.js'
import { type SystemName, systemEntry } from './systems/index.js'
import type { Handler, NewJob, Place, Producer, Runner, System } from './systems/system.js'

const TICK_MS = 10

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

let place: Place
let system: System
let producer: Promise<Producer> | undefined
let runner: Runner | undefined
let runs = 0
let enqueued = 0
let marks: number[] = []
let latencies: number[] = []

const commands = {
  async open(order: { system: SystemName; place: Place }) {
    place = order.place
    system = await systemEntry(order.system).load()
  },
  prepare: () => system.prepare(place),
  unfinished: async () => (await producing()).unfinished(),

  /** Writes a backlog and answers how long that took, ms. */
  async fill({ jobs, chunk = 10_000, argsBytes = 100, queue, delayMs, priorities = 1 }: FillOrder) {
    const { enqueueMany } = await producing()
    const newJob = (n: number): NewJob => ({ args: argsOf(n, argsBytes), queue, delayMs, priority: n % priorities })
    let ms = 0
    for (let done = 0; done < jobs; done += chunk) {
      const size = Math.min(chunk, jobs - done)
      const created = Array.from({ length: size }, (_, i) => newJob(done + i))
      const start = now()
      await enqueueMany(created)
      ms += now() - start
      enqueued += size
    }
    return ms
  },

  /** So many callers, each with one call under way at a time. */
  async enqueueFor({ durationMs, inFlight, argsBytes = 100 }: EnqueueOrder): Promise<EnqueueReport> {
    const { enqueue, enqueueFor } = await producing()
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
        enqueued++
      }
    }
    if (enqueueFor) jobs = await enqueueFor(durationMs, inFlight)
    else await Promise.all(Array.from({ length: inFlight }, caller))
    const cpuUs = enqueueFor ? undefined : sum(process.cpuUsage(cpu))
    return { jobs, ms: now() - start, cpuUs, ...percentiles(took) }
  },

  /** One job at a time, at a steady pace, each with the time of its call. */
  async enqueueEvery({ everyMs, jobs, priority }: { everyMs: number; jobs: number; priority?: number }) {
    const { enqueue } = await producing()
    for (let n = 0; n < jobs; n++) {
      await sleep(everyMs)
      await enqueue({ calledAt: now() }, priority)
    }
  },

  async work({ mode = 'at-least-once', work = 'nothing', concurrency, marks: at = [] }: WorkOrder) {
    marks = [...at]
    runner = await system.worker(place, { mode, handler: counted(handlers(work)), concurrency })
  },

  /** Somebody to wake. */
  listen: async () => system.listen?.(place),

  /** How long the jobs of enqueueEvery took from call to handler, ms. */
  latencies: async () => percentiles(latencies),
  /** Resolves when that many of them have begun. */
  async heard({ jobs }: { jobs: number }) {
    while (latencies.length < jobs) await sleep(10)
  },
  async forget() {
    latencies = []
  },

  async close() {
    await runner?.stop()
    await (await producer)?.close()
  },
}

export type Commands = typeof commands

process.on('message', async ({ id, name, order }: { id: number; name: keyof Commands; order: never }) => {
  try {
    process.send!({ id, result: await commands[name](order) })
  } catch (error) {
    process.send!({ id, error: error instanceof Error ? error.stack : String(error) })
  }
})
process.on('disconnect', () => process.exit())
process.on('SIGINT', () => {}) // a terminal's Ctrl-C: the bench ends us
setInterval(tick, TICK_MS)

function producing(): Promise<Producer> {
  producer ??= system.producer(place)
  return producer
}

function handlers(work: Work): Handler {
  if (work === 'nothing') return noteLatency
  if (work === 'insert') return async (_args, query) => void (await query!(`insert into effects values (1)`))
  return () => sleep(work.sleepMs)
}

function noteLatency(args: { calledAt?: number }): void {
  if (args.calledAt) latencies.push(now() - args.calledAt)
}

const counted =
  (handler: Handler): Handler =>
  (args, query) => {
    runs++
    if (marks[0] !== undefined && runs >= marks[0]) {
      marks.shift()
      tick()
    }
    return handler(args, query)
  }

function tick(): void {
  const message: { tick: Tick } = {
    tick: { at: now(), runs, enqueued, cpuUs: sum(process.cpuUsage()), rssBytes: process.memoryUsage.rss() },
  }
  if (process.connected) process.send!(message)
}

// Text that the server cannot compress much, as little as it can most people's args.
const TEXT = randomBytes(30_000).toString('base64')

function argsOf(n: number, bytes: number): object {
  const start = n % 1_000
  return { n, text: TEXT.slice(start, start + bytes - 20) }
}

const sum = ({ user, system }: NodeJS.CpuUsage): number => user + system

function percentiles(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}
