import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { isAlive } from '../src/is-alive.js'

// The real tooling/run.mjs in a small repository of its own, where the steps are stubs and the application tells what it hears.
const script = fileURLToPath(new URL('../../run.mjs', import.meta.url))
const endsWithinMs = 2000
// Nothing here stays for long, even when this process is killed in the middle of a test.
const lifetimeMs = 20_000

const application = `
  import { spawn } from 'node:child_process'
  import { appendFileSync } from 'node:fs'
  const child = spawn(process.execPath, ['-e', 'setTimeout(() => {}, ${lifetimeMs})'], { stdio: 'ignore' })
  const tell = (line) => appendFileSync('heard', line + '\\n')
  for (const signal of ['SIGINT', 'SIGTERM']) {
    process.on(signal, () => {
      tell(signal)
      if (!process.argv.includes('--stubborn')) setTimeout(() => process.exit(0), 300)
    })
  }
  setTimeout(() => {}, ${lifetimeMs})
  tell(['pids', process.pid, child.pid].join(' '))`

const quick = 'process.exit(0)'
const endless = `
  require('node:fs').appendFileSync('heard', 'pids ' + process.pid + '\\n')
  setTimeout(() => {}, ${lifetimeMs})`

interface Repository {
  readonly root: string
  /** Starts what \`npm start\` starts, through npm or without it. */
  start(through: 'npm' | 'node', ...args: string[]): ChildProcess
  heard(): string[]
}

function repository({ turbo = quick } = {}): Repository {
  const root = mkdtempSync(join(tmpdir(), 'pgq-run-'))
  onTestFinished(() => rmSync(root, { recursive: true }))
  const write = (path: string, text: string, mode = 0o644) => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text, { mode })
  }
  write(
    'package.json',
    JSON.stringify({ packageManager: 'pnpm@0.0.0', scripts: { start: 'node tooling/run.mjs start' } }),
  )
  // npx answers with the PATH on which pnpm is.
  write('bin/npx', `#!/bin/sh\necho "${join(root, 'bin')}"\n`, 0o755)
  write('bin/pnpm', '#!/bin/sh\nexit 0\n', 0o755)
  write('node_modules/turbo/bin/turbo', turbo)
  symlinkSync(fileURLToPath(new URL('../../../node_modules/tsx', import.meta.url)), join(root, 'node_modules/tsx'))
  write('apps/example/src/main.ts', application)
  write('apps/example/package.json', '{ "type": "module" }')
  for (const name of ['tsconfig.json', 'tooling/config/tsconfig.base.json']) write(name, '{}')
  cpSync(script, join(root, 'tooling/run.mjs'))

  return {
    root,
    start(through, ...args) {
      const [program, ...given] =
        through === 'npm' ? ['npm', 'start', '--', ...args] : [process.execPath, 'tooling/run.mjs', 'start', ...args]
      const env = { ...process.env, PATH: `${join(root, 'bin')}${delimiter}${process.env.PATH}` }
      // A session of its own, as a terminal has it, so that a signal to the group is what Ctrl-C is.
      const child = spawn(program as string, given, { cwd: root, env, detached: true, stdio: 'ignore' })
      onTestFinished(() => void child.kill('SIGKILL'))
      return child
    },
    heard: () => (existsSync(join(root, 'heard')) ? readFileSync(join(root, 'heard'), 'utf8').trim().split('\n') : []),
  }
}

async function pidsOf({ heard }: Repository): Promise<number[]> {
  await expect.poll(heard, { timeout: 10_000, interval: 20 }).not.toEqual([])
  return (heard()[0] as string).split(' ').slice(1).map(Number)
}

describe('npm start', () => {
  // Catches: a child in the terminal's group (it hears Ctrl-C twice), no forwarding, and no look at the parent: killing npm
  // alone ends its shell, which tells nobody.
  test.each([
    ['Ctrl-C', 'npm', 'SIGINT', true],
    ['Ctrl-C without npm', 'node', 'SIGINT', true],
    ['kill', 'npm', 'SIGTERM', false],
    ['kill without npm', 'node', 'SIGTERM', false],
    ['kill of the whole group', 'npm', 'SIGTERM', true],
    // Again, because the time is a promise of the script, and a busy machine may give the application none of it.
  ] as const)(
    '%s reaches the application once, and nothing is left',
    { retry: 2 },
    async (_, through, signal, toGroup) => {
      const started = repository()
      const child = started.start(through)
      const pids = await pidsOf(started)
      const signalledAt = Date.now()
      process.kill(toGroup ? -(child.pid as number) : (child.pid as number), signal)
      await once(child, 'exit')
      await expect.poll(() => pids.filter(isAlive), { timeout: endsWithinMs, interval: 10 }).toEqual([])
      expect(Date.now() - signalledAt).toBeLessThan(endsWithinMs)
      expect(started.heard().slice(1)).toEqual([signal])
    },
  )

  // Catches: no bound, and a bound that ends the application but not what it started.
  test('an application that does not listen ends as well', async () => {
    const started = repository()
    const child = started.start('npm', '--stubborn')
    const pids = await pidsOf(started)
    const signalledAt = Date.now()
    process.kill(-(child.pid as number), 'SIGINT')
    await once(child, 'exit')
    await expect.poll(() => pids.filter(isAlive), { timeout: endsWithinMs, interval: 10 }).toEqual([])
    expect(Date.now() - signalledAt).toBeLessThan(endsWithinMs)
  })

  test('a signal during a step ends the step, and nothing comes after it', async () => {
    const started = repository({ turbo: endless })
    const child = started.start('node')
    const pids = await pidsOf(started)
    child.kill('SIGINT')
    expect(await once(child, 'exit')).toEqual([130, null])
    expect(pids.filter(isAlive)).toEqual([])
    expect(started.heard()).toHaveLength(1)
  })

  test('hands its arguments over, and exits as the application does', async () => {
    const started = repository()
    writeFileSync(
      join(started.root, 'apps/example/src/main.ts'),
      `import { writeFileSync } from 'node:fs'
       writeFileSync('heard', process.argv.slice(2).join('\\n'))
       process.exit(7)`,
    )
    expect(await once(started.start('node', '--once', 'x y'), 'exit')).toEqual([7, null])
    expect(started.heard()).toEqual(['--once', 'x y'])
  })

  test('stops at the first step that fails', async () => {
    const started = repository()
    writeFileSync(join(started.root, 'bin/pnpm'), '#!/bin/sh\necho broken >&2\nexit 3\n')
    expect(await once(started.start('node'), 'exit')).toEqual([1, null])
    expect(started.heard()).toEqual([])
  })
})
