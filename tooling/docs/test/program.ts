import { type ChildProcess, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
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
  loader: Loader,
): Program {
  const child = spawn(command, args, { cwd, env: envOf(environment, loader), stdio: ['ignore', 'pipe', 'pipe'] })
  return Object.assign(watch(child), { block })
}

export function startStage(file: string, cwd: string, environment: Environment): Stage {
  const child = fork(file, {
    cwd,
    env: envOf(environment, 'plain'),
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

/** What has no TypeScript to load starts in half the time without it. */
export type Loader = 'tsx' | 'plain'

const envOf = ({ url, tsconfig }: Environment, loader: Loader): NodeJS.ProcessEnv => ({
  ...process.env,
  DATABASE_URL: url,
  // Not the one of the repository, which leads to the sources of our packages.
  TSX_TSCONFIG_PATH: tsconfig,
  NODE_OPTIONS: loader === 'tsx' ? '--import tsx' : '',
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
