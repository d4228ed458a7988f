import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { Binaries } from './binaries.js'
import type { ServerUser } from './server-user.js'

/** smart waits for the clients, fast sends them away, immediate is a crash that PostgreSQL knows of, kill one that it does not. */
export type StopMode = 'smart' | 'fast' | 'immediate' | 'kill'

export interface ServerProcess {
  readonly folder: string
  readonly dataDir: string
  readonly binaries: Binaries
  readonly user: ServerUser | undefined
  readonly args: readonly string[]
}

export interface RunningServer {
  readonly pid: number
  /** Resolves when the server is gone. */
  stop(mode: StopMode): Promise<void>
}

type Supervisor = ChildProcessByStdio<Writable, Readable, null>

const signals = { smart: 'SIGTERM', fast: 'SIGINT', immediate: 'SIGQUIT', kill: 'SIGKILL' } as const
const startTimeoutMs = 30_000
const stopTimeoutMs = 15_000
const supervisor = fileURLToPath(new URL('./supervisor.mjs', import.meta.url))

/** Starts the server under its supervisor and resolves when it takes connections. */
export async function runServer(server: ServerProcess): Promise<RunningServer> {
  const log = new ServerLog(join(server.folder, 'log'))
  const deadline = Date.now() + startTimeoutMs
  for (;;) {
    const child = superviseServer(server, log.file)
    const pid = await started(child, server.dataDir, deadline)
    if (pid !== undefined) return { pid, stop: (mode) => stopServer(child, pid, mode) }
    const said = log.takeNew()
    // What is left of a killed server holds its memory for a moment.
    const retry = /pre-existing shared memory block|lock file .* already exists/.test(said) && Date.now() < deadline
    if (!retry) throw new Error(`PostgreSQL did not start:\n${said}`)
    await delay(20)
  }
}

// A group of its own: Ctrl-C goes to the launcher, which first ends its work and then the server.
function superviseServer({ folder, binaries, user, args }: ServerProcess, logFile: string): Supervisor {
  const order = JSON.stringify({ program: binaries.postgres, args, folder, logFile, ...user })
  return spawn(process.execPath, [supervisor, order], {
    detached: true,
    stdio: ['pipe', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, TZ: process.env.TZ },
  })
}

/** The server's process id once it takes connections; undefined when it ended instead. */
async function started(child: Supervisor, dataDir: string, deadline: number): Promise<number | undefined> {
  const pid = await announcedPid(child)
  while (pid !== undefined && !hasEnded(child)) {
    if (isReady(dataDir, pid)) {
      letGo(child)
      return pid
    }
    if (Date.now() > deadline) await stopServer(child, pid, 'immediate')
    await delay(5)
  }
  return undefined
}

async function announcedPid(child: Supervisor): Promise<number | undefined> {
  for await (const line of child.stdout) return Number.parseInt(String(line), 10)
  return undefined
}

// The last line that PostgreSQL writes into its pid file is its state; a file that a killed server left has another id.
function isReady(dataDir: string, pid: number): boolean {
  try {
    const lines = readFileSync(join(dataDir, 'postmaster.pid'), 'utf8').split('\n')
    return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
  } catch {
    return false
  }
}

async function stopServer(child: Supervisor, pid: number, mode: StopMode): Promise<void> {
  if (hasEnded(child)) return
  child.ref()
  const ended = once(child, 'exit')
  const giveUp = setTimeout(() => signalServer(pid, 'SIGKILL'), stopTimeoutMs)
  signalServer(pid, signals[mode])
  await ended
  clearTimeout(giveUp)
}

function signalServer(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch {
    // It has just ended by itself.
  }
}

function hasEnded(child: Supervisor): boolean {
  return child.exitCode !== null || child.signalCode !== null
}

/** A server that nobody stopped does not keep the process alive. */
function letGo(child: Supervisor): void {
  child.unref()
  for (const pipe of [child.stdin, child.stdout] as unknown as Socket[]) pipe.unref()
}

class ServerLog {
  #read = 0
  constructor(readonly file: string) {
    this.takeNew()
  }
  /** What the server wrote since the last call. */
  takeNew(): string {
    const all = existsSync(this.file) ? readFileSync(this.file, 'utf8') : ''
    const fresh = all.slice(this.#read)
    this.#read = all.length
    return fresh
  }
}
