import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { bundleProgram } from '@pgq/config/bundle'
import { onTestFinished } from 'vitest'
import type { ChildOptions } from './child-worker.js'

export interface WorkerProcess {
  readonly pid: number
  readonly child: ChildProcess
  /** What the worker told, as [event, fields], in order. */
  readonly told: readonly [string, any][]
  /** Resolves with the fields of the first such event, also when it came before. */
  heard(event: string, times?: number): Promise<any>
  kill(signal: NodeJS.Signals): void
  /** What it wrote to stdout and stderr. */
  output(): string
  /** How the process ended. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
}

const program = await bundleProgram(join(import.meta.dirname, '..'), 'test/child-worker.ts')

/** A worker in a process of its own; killed after the test. */
export function workerProcess(options: ChildOptions): WorkerProcess {
  const child = fork(program, [JSON.stringify(options)], { execArgv: [], silent: true })
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) stream.on('data', (text) => (output += text))
  onTestFinished(() => void child.kill('SIGKILL'))
  const told: [string, any][] = []
  const listeners = new Set<() => void>()
  child.on('message', (message) => {
    told.push(message as [string, any])
    for (const listener of listeners) listener()
  })
  const ended = once(child, 'exit').then(([code, signal]) => ({ code, signal }))
  return {
    pid: child.pid!,
    child,
    told,
    ended,
    output: () => output,
    kill: (signal) => void child.kill(signal),
    heard: (event, times = 1) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = told.filter(([name]) => name === event)
          if (found.length < times) return
          listeners.delete(look)
          resolve(found[times - 1]![1])
        }
        listeners.add(look)
        look()
        void ended.then(({ code, signal }) =>
          reject(new Error(`The worker ended: ${code ?? signal}; no ${event}. ${output}`)),
        )
      }),
  }
}
