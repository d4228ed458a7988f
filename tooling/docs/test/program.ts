import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Block } from './page.js'

export interface Environment {
  readonly url: string
  readonly tsconfig: string
}

/** A process that a page started. */
export interface Program {
  /** The block that started it. */
  readonly block: Block
  /** All that it printed so far. */
  readonly output: string
  readonly isOver: boolean
  /** Its exit code, or the signal that ended it. */
  readonly exit: number | string | undefined
  terminate(): void
  kill(): void
}

/** The process of the code that is no program. */
export interface Stage extends Omit<Program, 'block'> {
  /** Runs one file to its end. Answers what it threw. */
  run(path: string): Promise<string | undefined>
}

export function startProgram(
  block: Block,
  command: string,
  args: readonly string[],
  cwd: string,
  environment: Environment,
  /** What has no TypeScript to load starts in half the time without it. */
  loader: 'tsx' | 'plain',
): Program {
  const { NODE_OPTIONS, ...plain } = envOf(environment)
  const env = loader === 'tsx' ? { ...plain, NODE_OPTIONS } : plain
  const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] })
  return Object.assign(watch(child), { block })
}

export function startStage(cwd: string, environment: Environment): Stage {
  const child = fork(join(import.meta.dirname, 'stage.ts'), {
    cwd,
    env: envOf(environment),
    execArgv: [],
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const program = watch(child)
  const ended = once(child, 'close')
  const run = async (path: string): Promise<string | undefined> => {
    if (program.isOver) return `the process is gone:\n${program.output}`
    child.send(path)
    const answered = once(child, 'message').then(([{ error }]) => error as string | undefined)
    return Promise.race([answered, ended.then(() => `this ended the process:\n${program.output}`)])
  }
  return Object.assign(program, { run })
}

const envOf = ({ url, tsconfig }: Environment): NodeJS.ProcessEnv => ({
  ...process.env,
  DATABASE_URL: url,
  // Not the one of the repository, which leads to the sources of our packages.
  TSX_TSCONFIG_PATH: tsconfig,
  NODE_OPTIONS: '--import tsx',
})

function watch(child: ChildProcess) {
  const program = {
    output: '',
    isOver: false,
    exit: undefined as number | string | undefined,
    terminate: () => void child.kill('SIGTERM'),
    kill: () => void child.kill('SIGKILL'),
  }
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text) => {
      program.output += text
    })
  }
  child.on('close', (code, signal) => {
    program.isOver = true
    program.exit = code ?? signal ?? 'without a code'
  })
  return program
}
