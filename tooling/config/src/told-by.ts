import type { ChildProcess } from 'node:child_process'

/** What a process has printed. */
export interface Told {
  readonly stdout: string
  readonly stderr: string
  /** Resolves with the first match in its output, stdout first; rejects when it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
}

/** Listens to a process that was started with pipes. The texts grow as it prints. */
export function toldBy(child: ChildProcess): Told {
  const told = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name]!.setEncoding('utf8').on('data', (text) => {
      told[name] += text
      for (const listener of listeners) listener()
    })
  }
  const printed = (pattern: RegExp) =>
    new Promise<RegExpExecArray>((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(told.stdout + told.stderr)
        if (!match) return
        listeners.delete(look)
        resolve(match)
      }
      listeners.add(look)
      look()
      child.once('close', (code, signal) =>
        reject(new Error(`It ended (${code ?? signal}) without ${pattern}:\n${told.stdout}${told.stderr}`)),
      )
    })
  return Object.assign(told, { printed })
}
