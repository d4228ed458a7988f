import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundleProgram } from '@pgq/config/bundle'
import { type Told, toldBy } from '@pgq/config/told-by'
import { onTestFinished } from 'vitest'

export interface ShopProcess extends Told {
  readonly child: ChildProcess
  /** How it ended, when all its output is there. */
  readonly ended: Promise<{ code: number | null; signal: NodeJS.Signals | null }>
  /** The ids of this process and of all that came from it and still run. Linux only. */
  tree(): number[]
  /** What it keeps in the temporary folder, which is its own. */
  databaseFolders(): string[]
}

export const root = join(import.meta.dirname, '../../..')
const npmStart = ['npm', 'start', '--']
// From the sources of the other packages, as all tests; `npm start` itself runs what was built.
const main = await bundleProgram(join(root, 'apps/example'), 'src/main.ts')

/** The example as a process of its own: through `npm start` as it is, or without it. Killed after the test. */
export function shopProcess(
  args: readonly string[],
  {
    databaseUrl,
    throughNpm = false,
    more = {},
  }: { readonly databaseUrl?: string; readonly throughNpm?: boolean; readonly more?: NodeJS.ProcessEnv } = {},
): ShopProcess {
  const folder = mkdtempSync(join(tmpdir(), 'pgq-example-'))
  chmodSync(folder, 0o755) // root's server is another user's process
  const [program, ...given] = [...(throughNpm ? npmStart : [process.execPath, main]), ...args]
  const { DATABASE_URL: _, ...env } = process.env
  const child = spawn(program!, given, {
    cwd: root,
    // A group of its own, as a terminal makes it: a signal to the group is what Ctrl-C is.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...env,
      ...more,
      TMPDIR: folder,
      ...(databaseUrl !== undefined && { DATABASE_URL: databaseUrl }),
    },
  })
  const told = toldBy(child)
  const ended: ShopProcess['ended'] = new Promise((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal }))
  })
  onTestFinished(async () => {
    if (child.exitCode === null && child.signalCode === null) process.kill(-child.pid!, 'SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
  })
  return Object.assign(told, {
    child,
    ended,
    tree: () => withDescendants(child.pid!),
    databaseFolders: () => readdirSync(folder).filter((name) => name.startsWith('pgq-')),
  })
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
