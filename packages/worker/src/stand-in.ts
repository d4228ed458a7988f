import { createRequire } from 'node:module'
import { Worker as Thread } from 'node:worker_threads'
import { heartbeatSql } from '@pgq/core'
import type pg from 'pg'

/** Looks of the thread per lease. It beats after two at which the event loop had not moved: well before the lease is over. */
const LOOKS_PER_LEASE = 12
const STILL_LOOKS = 2

/** What the stand-in tells. */
export interface StandInObserver {
  /** The event loop moves again; it had been blocked for so long, and the stand-in beat meanwhile. */
  stoodIn(blockedForMs: number): void
  /** It cannot beat: a handler that blocks the event loop for longer than the lease costs the worker its jobs. */
  failed(error: Error): void
}

/** What it needs to beat for a worker. */
export interface StandInOptions {
  readonly config: pg.ClientConfig
  readonly schema: string
  readonly locks: boolean
  readonly leaseMs: number
  /** An event loop that is blocked for longer is given up. */
  readonly maxBlockedMs: number
}

/**
 * Beats for a worker whose event loop is blocked by a handler: a thread that sees, in memory that they share, whether the loop
 * moves. It opens a connection of its own only when it does not. A process that is frozen or killed stops it as well.
 */
export class StandIn {
  /** How often the loop moved, and the worker's id. */
  readonly #shared = new Int32Array(new SharedArrayBuffer(8))
  #pulse: NodeJS.Timeout | undefined
  #leave = () => {}
  #isStopped = false

  constructor(private readonly observer: StandInObserver) {}

  /** The worker to beat for; 0: none. */
  set workerId(id: number) {
    Atomics.store(this.#shared, 1, id)
  }

  async start(options: StandInOptions): Promise<void> {
    if (options.maxBlockedMs === 0) return
    const lookMs = Math.ceil(options.leaseMs / LOOKS_PER_LEASE)
    try {
      const config = {
        ...(await plainConfig(options.config)),
        query_timeout: options.leaseMs,
        application_name: 'pgq stand-in',
      }
      if (this.#isStopped) return
      const watch = {
        shared: this.#shared,
        config,
        ...heartbeatSql(options.schema),
        locks: options.locks,
        lookMs,
        stillLooks: STILL_LOOKS,
        mostLooks: Math.ceil(options.maxBlockedMs / lookMs),
      }
      this.#leave = joinThread(watch, this.observer)
    } catch (error) {
      return this.observer.failed(error as Error)
    }
    this.#pulse = setInterval(() => Atomics.add(this.#shared, 0, 1), lookMs / 2).unref()
  }

  stop(): void {
    this.#isStopped = true
    clearInterval(this.#pulse)
    this.#leave()
  }
}

/** One thread for all workers of the process, because to start one takes 50 ms of CPU; and for the next worker, this long. */
const LINGER_MS = 10_000
let thread: Thread | undefined
let lingering: NodeJS.Timeout | undefined
let watches = 0
const observers = new Map<number, (told: { blockedForMs?: number; failed?: string }) => void>()

/** Has the thread watch over a worker; answers how to end that. */
function joinThread(watch: object, observer: StandInObserver): () => void {
  clearTimeout(lingering)
  thread ??= startThread()
  const joined = thread
  const id = ++watches
  observers.set(id, ({ blockedForMs, failed }) => {
    if (blockedForMs !== undefined) observer.stoodIn(blockedForMs)
    if (failed !== undefined) observer.failed(new Error(failed))
  })
  joined.postMessage({ id, watch })
  return () => {
    observers.delete(id)
    joined.postMessage({ id })
    if (observers.size === 0) lingering = setTimeout(endThread, LINGER_MS).unref()
  }
}

function endThread(): void {
  void thread?.terminate()
  thread = undefined
}

function startThread(): Thread {
  // Without the loaders that the program was started with: it loads one module, and that only when it is needed.
  const started = new Thread(THREAD, { eval: true, workerData: pathOfPg(), execArgv: [], name: 'pgq stand-in' })
  started.on('message', ({ id, ...told }) => observers.get(id)?.(told))
  started.on('error', ({ message }) => {
    if (thread === started) thread = undefined
    for (const tell of observers.values()) tell({ failed: message })
  })
  started.unref()
  return started
}

/** Where pg lies: a thread from a text has no place of its own to look from. In a bundle that holds pg, there is none. */
function pathOfPg(): string {
  try {
    return createRequire(import.meta.url).resolve('pg')
  } catch {
    return createRequire(`${process.cwd()}/`).resolve('pg')
  }
}

/** The options as a thread can have them: a password that is a function is asked once; other functions cannot travel. */
async function plainConfig(config: pg.ClientConfig): Promise<pg.ClientConfig> {
  const { password } = config
  const plain = { ...config, ...(typeof password === 'function' && { password: await password() }) }
  return structuredClone(plain)
}

/** JavaScript as a text, because a file of its own would be lost in a bundle. A count of looks, not a clock: a frozen process has none. */
const THREAD = `
const { parentPort, workerData: pathOfPg } = require('node:worker_threads')
const watches = new Map()
parentPort.on('message', ({ id, watch }) => {
  if (watch) watches.set(id, watchOver(watch, (told) => parentPort.postMessage({ id, ...told })))
  else {
    watches.get(id)()
    watches.delete(id)
  }
})
const watchOver = ({ shared, config, lock, beat, locks, lookMs, stillLooks, mostLooks }, tell) => {
  let client, seen = 0, still = 0, beats = 0, busy = false, told = false, over = false
  const drop = () => {
    client?.end().catch(() => {})
    client = undefined
  }
  const open = async () => {
    const { Client } = require(pathOfPg)
    const opened = new Client(config)
    opened.on('error', () => client === opened && drop())
    try {
      await opened.connect()
      if (locks) await opened.query(lock, [Atomics.load(shared, 1)])
    } catch (error) {
      opened.end().catch(() => {})
      throw error
    }
    return opened
  }
  const standIn = async () => {
    try {
      client ??= await open()
      await client.query(beat, [Atomics.load(shared, 1)])
      beats += 1
    } catch (error) {
      drop()
      if (!told) tell({ failed: String(error.message) })
      told = true
    }
  }
  const look = setInterval(async () => {
    const moved = Atomics.load(shared, 0)
    if (moved !== seen) {
      if (beats > 0) tell({ blockedForMs: still * lookMs })
      seen = moved
      still = beats = 0
    } else still += 1
    const isNeeded = still >= stillLooks && still <= mostLooks && Atomics.load(shared, 1) !== 0
    if (!isNeeded && !busy) drop()
    if (!isNeeded || busy) return
    busy = true
    await standIn()
    busy = false
    if (over) drop()
  }, lookMs)
  return () => {
    over = true
    clearInterval(look)
    if (!busy) drop()
  }
}
`
