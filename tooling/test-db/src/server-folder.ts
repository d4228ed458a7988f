import {
  lchownSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ServerUser } from './server-user.js'

const prefix = 'pgq-postgres-'
const unownedForMs = 600_000

/** Who made a folder. A process id alone would not do: ids are used again, and are other processes' in another container. */
interface Owner {
  readonly pid: number
  readonly startedAt: string
  readonly pidNamespace: string
}

/** A new folder for one server, which `sweepStaleFolders` leaves alone for as long as this process lives. */
export function makeServerFolder(user: ServerUser | undefined): string {
  const folder = mkdtempSync(join(tmpdir(), prefix))
  const owner: Owner = { pid: process.pid, startedAt: startOf(process.pid), pidNamespace: pidNamespace() }
  writeFileSync(join(folder, 'owner.json'), JSON.stringify(owner))
  giveTo(user, folder)
  return folder
}

export function removeServerFolder(folder: string): void {
  rmSync(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 })
}

/** Removes what launchers left behind that died together with their supervisor, and ends a server that still runs there. */
export function sweepStaleFolders(): void {
  for (const name of readdirSync(tmpdir())) {
    const folder = join(tmpdir(), name)
    if (name.startsWith(prefix) && isStale(folder)) sweep(folder)
  }
}

export function giveTo(user: ServerUser | undefined, path: string): void {
  if (!user) return
  const below = statSync(path).isDirectory() ? (readdirSync(path, { recursive: true }) as string[]) : []
  for (const entry of ['', ...below]) lchownSync(join(path, entry), user.uid, user.gid)
}

function sweep(folder: string): void {
  try {
    endServerIn(join(folder, 'data'))
    removeServerFolder(folder)
  } catch {
    // Another user's, or another sweep was faster.
  }
}

function isStale(folder: string): boolean {
  try {
    const owner = JSON.parse(readFileSync(join(folder, 'owner.json'), 'utf8')) as Owner
    return owner.pidNamespace === pidNamespace() && owner.startedAt !== startOf(owner.pid)
  } catch {
    return isOld(folder)
  }
}

// A folder without an owner may be one that is being made at this moment.
function isOld(folder: string): boolean {
  try {
    return Date.now() - statSync(folder).mtimeMs > unownedForMs
  } catch {
    return false
  }
}

function endServerIn(dataDir: string): void {
  const pid = serverPid(dataDir)
  // PostgreSQL works in its data folder: that tells it from a process that got its id later.
  if (pid && readLink(`/proc/${pid}/cwd`) === dataDir) process.kill(pid, 'SIGKILL')
}

function serverPid(dataDir: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(join(dataDir, 'postmaster.pid'), 'utf8'), 10)
  } catch {
    return undefined
  }
}

/** Empty when there is no such process; elsewhere than on Linux only that there is one. */
function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The name in parentheses may hold anything; the start time is the 20th field after it.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? ''
  } catch {
    return process.platform === 'linux' ? '' : aliveMark(pid)
  }
}

function aliveMark(pid: number): string {
  try {
    process.kill(pid, 0)
    return 'alive'
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM' ? 'alive' : ''
  }
}

function pidNamespace(): string {
  return readLink('/proc/self/ns/pid') ?? ''
}

function readLink(path: string): string | undefined {
  try {
    return readlinkSync(path)
  } catch {
    return undefined
  }
}
