import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { bundleProgram } from '@pgq/config/bundle'
import { type Told, toldBy } from '@pgq/config/told-by'
import { onTestFinished } from 'vitest'

const root = join(import.meta.dirname, '../../..')
const source = join(root, 'packages/cli/src/main.ts')

/** How a run of pgq ended. */
export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** pgq, running. What is left of it is killed after the test. */
export interface PgqProcess extends Told {
  readonly child: ChildProcess
  readonly ended: Promise<Ended>
  signal(signal: NodeJS.Signals): void
}

export interface PgqOptions {
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  /** Runs it on a terminal of this width: its stdout and stderr are one then. */
  readonly terminal?: { readonly columns: number }
  /** What is typed, for a terminal. */
  readonly input?: string
  /** Writes stdout to this file. */
  readonly stdout?: string
  /** With tsx, so that it can load a module in TypeScript; that takes three times as long to start. */
  readonly typescript?: boolean
}

/** The program itself, on the sources, in a process of its own; no other database than the one that is named. */
export function startPgq(
  args: readonly string[],
  { env = {}, cwd = root, terminal, input, stdout, typescript = false }: PgqOptions = {},
): PgqProcess {
  const command = [process.execPath, ...(typescript ? ['--import', tsx, source] : [bundled]), ...args]
  const inTerminal = terminal ? onTerminal(command, terminal.columns) : command
  const [file, ...rest] = stdout
    ? ['sh', '-c', 'file=$1; shift; exec "$@" > "$file"', 'sh', stdout, ...command]
    : inTerminal
  const child = spawn(file!, rest, { cwd, env: { ...cleared(process.env), ...env }, stdio: ['pipe', 'pipe', 'pipe'] })
  const told = toldBy(child)
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout: told.stdout, stderr: told.stderr }))
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  if (input !== undefined) child.stdin.write(input)
  else if (!terminal) child.stdin.end()
  return Object.assign(told, { child, ended, signal: (signal: NodeJS.Signals) => void child.kill(signal) })
}

/** Runs it to its end. */
export const pgq = (args: readonly string[], options?: PgqOptions): Promise<Ended> => startPgq(args, options).ended

const tsx = import.meta.resolve('tsx')
const bundled = await bundleProgram(join(root, 'packages/cli'), 'src/main.ts')

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
