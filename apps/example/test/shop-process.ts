import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

export interface ShopProcess {
  readonly child: ChildProcess
  /** What it has printed so far. */
  readonly stdout: string
  readonly stderr: string
  /** How it ended, when all its output is there. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** Resolves with the first match in its output; rejects when it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  /** The ids of this process and of all that came from it and still run. Linux only. */
  tree(): number[]
  /** What it keeps in the temporary folder, which is its own. */
  databaseFolders(): string[]
}

export const root = join(import.meta.dirname, '../../..')
const npmStart = ['npm', 'start', '--']
// From the sources of the other packages, as all tests; `npm start` itself runs what was built.
const main = [process.execPath, '--import', 'tsx', 'apps/example/src/main.ts']

/** The example as a process of its own: through `npm start` as it is, or without it. Killed after the test. */
export function shopProcess(
  args: readonly string[],
  { databaseUrl, throughNpm = false }: { readonly databaseUrl?: string; readonly throughNpm?: boolean } = {},
): ShopProcess {
  const folder = mkdtempSync(join(tmpdir(), 'pgq-example-'))
  chmodSync(folder, 0o755) // root's server is another user's process
  const [program, ...given] = [...(throughNpm ? npmStart : main), ...args]
  const { DATABASE_URL: _, ...env } = process.env
  const child = spawn(program!, given, {
    cwd: root,
    // A group of its own, as a terminal makes it: a signal to the group is what Ctrl-C is.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...env,
      TMPDIR: folder,
      ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
      ...(!throughNpm && { TSX_TSCONFIG_PATH: join(root, 'tsconfig.json') }),
    },
  })
  const told = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      told[name] += text
      for (const listener of listeners) listener()
    })
  }
  const ended: ShopProcess['ended'] = new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal }))
  })
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  })
  return {
    child,
    ended,
    get stdout() {
      return told.stdout
    },
    get stderr() {
      return told.stderr
    },
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const match = pattern.exec(told.stdout)
          if (!match) return
          listeners.delete(look)
          resolve(match)
        }
        listeners.add(look)
        look()
        void ended.then(() => reject(new Error(`It ended without ${pattern}:\n${told.stdout}${told.stderr}`)))
      }),
    tree: () => withDescendants(child.pid!),
    databaseFolders: () => readdirSync(folder).filter((name) => name.startsWith('pgq-')),
  }
}

function withDescendants(pid: number): number[] {
  const parents = new Map(
    readdirSync('/proc')
      .filter((name) => /^[0-9]+$/.test(name))
      .map((name) => [Number(name), parentOf(name)]),
  )
  const found = [pid]
  for (const ancestor of found) for (const [child, parent] of parents) if (parent === ancestor) found.push(child)
  return found
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything; the parent is the second field after it.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return undefined
  }
}
