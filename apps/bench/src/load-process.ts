import { type ChildProcess, fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Load, LoadOrder, Tick } from './load.js'

/** A load, wherever it runs. Emits `tick`. */
export abstract class LoadHandle extends EventEmitter<{ tick: [Tick] }> {
  last: Tick = { at: 0, runs: 0, enqueued: 0, cpuUs: 0, rssBytes: 0 }

  abstract call<Name extends keyof Load>(
    name: Name,
    ...order: Parameters<Load[Name]>
  ): Promise<Awaited<ReturnType<Load[Name]>>>

  abstract end(): Promise<void>

  protected ticked(tick: Tick): void {
    this.last = tick
    this.emit('tick', tick)
  }
}

export type StartLoad = (order: LoadOrder) => LoadHandle

const built = fileURLToPath(new URL('../dist/index.js', import.meta.url))

/** A load in a process of its own, as it was built: plain JavaScript over the built packages. */
export function startBuiltLoad(order: LoadOrder): LoadHandle {
  if (!existsSync(built)) throw new Error('apps/bench is not built: npm run build')
  // Without what this process was started with: it would load the sources of the packages.
  return new LoadProcess(order, (args) => fork(built, args, { execArgv: [] }))
}

export class LoadProcess extends LoadHandle {
  readonly #child: ChildProcess
  readonly #calls = new Map<number, { resolve: (result: any) => void; reject: (error: Error) => void }>()
  #nextId = 1

  constructor(
    private readonly order: LoadOrder,
    start: (args: string[]) => ChildProcess,
  ) {
    super()
    this.#child = start([JSON.stringify(order)])
    this.#child.on('message', (message) => this.#heard(message))
    this.#child.on('exit', (code, signal) => this.#ended(signal ?? code))
  }

  call<Name extends keyof Load>(
    name: Name,
    ...[order]: Parameters<Load[Name]>
  ): Promise<Awaited<ReturnType<Load[Name]>>> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject })
      this.#child.send({ id, name, order })
    })
  }

  /** Kills it: what it leaves in the database goes with the database. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }

  #heard(message: any): void {
    if (message.tick) {
      this.ticked(message.tick)
      return
    }
    const call = this.#calls.get(message.id)
    this.#calls.delete(message.id)
    if (message.error === undefined) call?.resolve(message.result)
    else call?.reject(new Error(`${this.order.system}: ${message.error}`))
  }

  #ended(how: string | number | null): void {
    const error = new Error(`The load of ${this.order.system} ended: ${how}`)
    for (const { reject } of this.#calls.values()) reject(error)
    this.#calls.clear()
  }
}
