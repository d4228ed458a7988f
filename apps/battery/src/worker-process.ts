import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { dirname, join } from 'node:path'
import { CheckFailed } from './battery-test.js'
import { type HistoryWriter, now } from './history.js'

/** Another process of a test, and what it tells. */
export interface TestProcess {
  readonly pid: number
  /** What it told, in order: event, fields, and when it was heard (ms, monotonic). */
  readonly told: readonly (readonly [event: string, fields: any, at: number])[]
  /** The fields of the first such event, or of the times-th, also when it came before. */
  heard(event: string, times?: number, ms?: number): Promise<any>
  /** Sends a signal; kill -9 is noted in the queue's history. */
  kill(signal: NodeJS.Signals): void
  send(message: unknown): void
  readonly isRunning: boolean
  /** How the process ended, and what it wrote to stderr. */
  readonly ended: Promise<{
    readonly code: number | null
    readonly signal: NodeJS.Signals | null
    readonly stderr: string
  }>
}

export interface ProcessOptions {
  readonly nodeArgs?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  /** What to start node with: `ip netns exec name`. */
  readonly prefix?: readonly string[]
}

/** Starts one of the programs beside this one, with its argument as JSON. */
export function startProgram(
  program: 'worker' | 'producer' | 'migrate' | 'cycles',
  argument: unknown,
  note: HistoryWriter['note'],
  { nodeArgs = [], env = {}, prefix = [] }: ProcessOptions = {},
): TestProcess {
  const file = join(dirname(process.argv[1]!), 'programs', `${program}.mjs`)
  const [command, ...args] = [...prefix, process.execPath, ...nodeArgs, file, JSON.stringify(argument)]
  const child = spawn(command!, args, {
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    env: { ...process.env, ...env },
  })
  return watch(child, program, note)
}

function watch(child: ChildProcess, program: string, note: HistoryWriter['note']): TestProcess {
  const told: [string, any, number][] = []
  const listeners = new Set<() => void>()
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr = (stderr + text).slice(-4_000)
  })
  child.on('message', ([event, fields]: any) => {
    told.push([event, fields, now()])
    for (const listener of listeners) listener()
  })
  const ended = once(child, 'close').then(([code, signal]) => ({ code, signal, stderr }))
  return {
    pid: child.pid!,
    told,
    ended,
    send: (message) => void child.send(message as object),
    get isRunning() {
      return child.exitCode === null && child.signalCode === null
    },
    kill(signal) {
      if (signal === 'SIGKILL') note({ kind: 'killed', victim: child.pid! })
      child.kill(signal)
    },
    heard: (event, times = 1, ms = 30_000) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void) => {
          listeners.delete(look)
          clearTimeout(timer)
          act()
        }
        const look = () => {
          const found = told.filter(([name]) => name === event)
          if (found.length >= times) settle(() => resolve(found[times - 1]![1]))
        }
        const timer = setTimeout(() => {
          settle(() => reject(new CheckFailed([`The ${program} did not tell ${event} (${times}) within ${ms} ms.`])))
        }, ms)
        listeners.add(look)
        look()
        void ended.then(({ code, signal }) =>
          settle(() => reject(new Error(`The ${program} ended (${code ?? signal}) without ${event}. ${stderr}`))),
        )
      }),
  }
}
