import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, vi } from 'vitest'

const root = join(import.meta.dirname, '../../..')
const program = join(root, 'packages/cli/src/main.ts')

/** How a run of pgq ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** pgq, running. What is left of it is killed after the file's last test. */
export interface PgqProcess {
  readonly child: ChildProcess
  readonly stdout: string
  readonly stderr: string
  readonly ended: Promise<Ended>
  /** Resolves when it has printed this, on either stream; rejects when it ends without. */
  printed(pattern: RegExp): Promise<RegExpExecArray>
  signal(signal: NodeJS.Signals): void
}

export interface PgqOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Runs it on a terminal of this width: its stdout and stderr are one then. */
  readonly terminal?: { readonly columns: number }
  /** What is typed, for a terminal. */
  readonly input?: string
}

// Each run starts a Node that reads TypeScript: half a second of work, and more on a busy machine.
vi.setConfig({ testTimeout: 60_000 })

const running = new Set<ChildProcess>()
afterAll(() => {
  for (const child of running) child.kill('SIGKILL')
})

/** The program itself, on the sources, in a process of its own; no other database than the one that is named. */
export function startPgq(
  args: readonly string[],
  { env = {}, cwd = root, terminal, input }: PgqOptions = {},
): PgqProcess {
  const command = [process.execPath, '--import', tsx, program, ...args]
  const [file, ...rest] = terminal ? onTerminal(command, terminal.columns) : command
  const child = spawn(file!, rest, { cwd, env: { ...cleared(process.env), ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  const told = { stdout: '', stderr: '' }
  const listeners = new Set<() => void>()
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text) => {
      told[name] += text
      for (const listener of listeners) listener()
    })
  }
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code) => resolve({ code, ...told }))
  })
  running.add(child)
  void ended.then(() => running.delete(child))
  if (input !== undefined) child.stdin.write(input)
  else if (!terminal) child.stdin.end()
  return {
    child,
    get stdout() {
      return told.stdout
    },
    get stderr() {
      return told.stderr
    },
    ended,
    printed: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(told.stdout + told.stderr)
          if (found) resolve(found)
        }
        listeners.add(look)
        look()
        void ended.then(({ code }) => reject(new Error(`It ended with ${code}:\n${told.stdout}${told.stderr}`)))
      }),
    signal: (signal) => void child.kill(signal),
  }
}

/** Runs it to its end. */
export const pgq = (args: readonly string[], options?: PgqOptions): Promise<Ended> => startPgq(args, options).ended

const tsx = import.meta.resolve('tsx')

/** Without what would name a database, or colours. */
function cleared(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const kept = Object.entries(env).filter(([name]) => !/^(PG|DATABASE_URL$|NO_COLOR$|FORCE_COLOR$|CI$)/.test(name))
  return {
    ...Object.fromEntries(kept),
    TSX_TSCONFIG_PATH: join(root, 'packages/cli/tsconfig.json'),
    TERM: 'xterm-256color',
    TZ: 'UTC',
  }
}

/** `script` of util-linux makes a terminal of its own; its stdin is what is typed. */
function onTerminal(command: readonly string[], columns: number): string[] {
  const line = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ')
  return ['script', '--quiet', '--return', '--command', `stty cols ${columns} rows 40; exec ${line}`, '/dev/null']
}
