import { type ChildProcess, fork } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Commands, Tick } from './load.js'
import type { SystemName } from './systems/index.js'
import type { Place } from './systems/system.js'

const built = fileURLToPath(new URL('../dist/index.js', import.meta.url))
const source = fileURLToPath(new URL('./load.ts', import.meta.url))
const root = fileURLToPath(new URL('../../..', import.meta.url))

/** One process of the load. Emits `tick`. */
export class LoadProcess extends EventEmitter<{ tick: [Tick] }> {
  last: Tick = { at: 0, runs: 0, enqueued: 0, cpuUs: 0, rssBytes: 0 }
  readonly #child: ChildProcess
  readonly #calls = new Map<number, { resolve: (result: any) => void; reject: (error: Error) => void }>()
  #nextId = 1

  /** fromSources: run the TypeScript sources, for tests; measured is what was built. */
  constructor(
    readonly system: SystemName,
    readonly place: Place,
    fromSources = false,
  ) {
    super()
    if (!fromSources && !existsSync(built)) throw new Error('apps/bench is not built: npm run build')
    this.#child = fromSources
      ? fork(source, {
          execArgv: ['--import', 'tsx'],
          env: { ...process.env, TSX_TSCONFIG_PATH: `${root}tsconfig.json` },
        })
      : fork(built, { execArgv: [] })
    this.#child.on('message', (message) => this.#heard(message))
    this.#child.on('exit', (code, signal) => this.#ended(new Error(`The load of ${system} ended: ${signal ?? code}`)))
  }

  get pid(): number {
    return this.#child.pid!
  }

  call<Name extends keyof Commands>(
    name: Name,
    ...[order]: Parameters<Commands[Name]>
  ): Promise<Awaited<ReturnType<Commands[Name]>>> {
    const id = this.#nextId++
    return new Promise((resolve, reject) => {
      this.#calls.set(id, { resolve, reject })
      this.#child.send({ id, name, order })
    })
  }

  /** Ends the process without asking it. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exited
  }

  #heard(message: any): void {
    if (message.tick) {
      this.last = message.tick
      this.emit('tick', message.tick)
      return
    }
    const call = this.#calls.get(message.id)
    this.#calls.delete(message.id)
    if (message.error === undefined) call?.resolve(message.result)
    else call?.reject(new Error(`${this.system}: ${message.error}`))
  }

  #ended(error: Error): void {
    for (const { reject } of this.#calls.values()) reject(error)
    this.#calls.clear()
  }
}
