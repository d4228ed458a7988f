import { spawn } from 'node:child_process'

export interface ProgramOptions {
  readonly cwd: string
  readonly env?: Readonly<Record<string, string>>
}

const LONGEST_MS = 120_000

/** Runs a program to its end and answers what it printed. Rejects, with all of its output, when it fails. */
export function runProgram(
  command: string,
  args: readonly string[],
  { cwd, env = {} }: ProgramOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: { ...passedOn(process.env), ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: LONGEST_MS,
      killSignal: 'SIGKILL',
    })
    let stdout = ''
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text
      output += text
    })
    child.stderr.setEncoding('utf8').on('data', (text) => {
      output += text
    })
    child.on('error', reject)
    child.on('close', (code, signal) => {
      if (code === 0) return resolve(stdout)
      reject(new Error(`${command} ${args.join(' ')} failed (${code ?? signal}):\n${output}`))
    })
  })
}

// What npm tells the scripts that it runs is about this repository, not about the one that the program works in; and with a
// builder's token pnpm would sign what it publishes, and log it for all the world.
const withheld = /^(npm_(package|lifecycle|command|execpath)|ACTIONS_ID_TOKEN)/

const passedOn = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(env).filter(([name]) => !withheld.test(name)))
