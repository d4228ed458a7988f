#!/usr/bin/env node
// What `npm start` and `npm test` do on a bare machine: no dependency but Node and npm. Installs with the pinned pnpm, builds,
// and then replaces turbo and npx by the plain program, so that a signal has one way to go.
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { delimiter } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
// From the signal until everything that is still there is killed; together with the end of the processes below 2 s.
const graceMs = 1200
const parentCheckMs = 200

const node = process.execPath
const turbo = (...tasks) => [
  'node_modules/turbo/bin/turbo',
  'run',
  ...tasks,
  '--output-logs=errors-only',
  '--ui=stream',
]
const vitest = 'node_modules/vitest/vitest.mjs'
const changesets = 'node_modules/@changesets/cli/bin.js'
const env = { ...process.env, TURBO_TELEMETRY_DISABLED: '1' }
// In a file or a CI log, colours are noise; some of the tools think otherwise when CI is set.
if (!process.stdout.isTTY && !env.FORCE_COLOR) env.NO_COLOR = '1'

const commands = {
  start: async (args) => {
    // Of everything: an install with --filter takes three times as long (74-95 s against 20-32 s).
    await install()
    // Orders are worked off from the sources as they are: to build them would take longer than the rest. The shop is open with the
    // packages as they were built, as everybody else has them: the nearest tsconfig.json would lead tsx to their sources.
    const once = args.includes('--once')
    if (!once) await step('build', node, turbo('build', '--filter=@pgq/example^...'))
    env.TSX_TSCONFIG_PATH ??= once ? 'tsconfig.json' : 'tooling/config/tsconfig.base.json'
    await become(node, ['--import', 'tsx', 'apps/example/src/main.ts', ...args])
  },
  test: async (args) => {
    await install()
    await step('lint', node, [
      'node_modules/@biomejs/biome/bin/biome',
      'ci',
      '--error-on-warnings',
      `--colors=${env.NO_COLOR ? 'off' : 'force'}`,
    ])
    await step('typecheck', node, turbo('typecheck'))
    await step('build', node, turbo('build'))
    await become(node, [vitest, 'run', '--coverage', '--mode=product', ...args])
  },
  'test:tools': async (args) => {
    await install()
    await become(node, [vitest, 'run', '--mode=tools', ...args])
  },
  build: async () => {
    await install()
    await step('build', node, turbo('build'))
  },
  bench: async (args) => {
    await install()
    await step('build', node, turbo('build'))
    await become(node, ['--import', 'tsx', 'apps/bench/src/main.ts', ...args])
  },
  battery: async (args) => {
    await install()
    // It bundles the sources itself, with and without defects; there is nothing to build before.
    await become(node, ['--import', 'tsx', 'apps/battery/src/main.ts', ...args])
  },
  version: async () => {
    await install()
    await become(node, [changesets, 'version'])
  },
  publish: async () => {
    await install()
    await step('build', node, turbo('build'))
    await become(node, [changesets, 'publish'])
  },
}

let current
let stopping = false
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => stop(signal))
// Nobody reads on: `npm start | head`.
process.stdout.on('error', () => stop('SIGTERM'))
// npm hands a signal to its shell, and a shell like dash dies of it alone.
const parent = process.ppid
setInterval(() => process.ppid !== parent && stop('SIGTERM'), parentCheckMs).unref()

const [name = '', ...args] = process.argv.slice(2)
if (!Object.hasOwn(commands, name))
  fail(`usage: node tooling/run.mjs ${Object.keys(commands).join('|')} [argument ...]`)
await commands[name](args)

async function install() {
  const { packageManager } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'))
  // --yes, because a user's npmrc may say yes=false. turbo looks for pnpm on the PATH, and npx has it there.
  const found = await step('pnpm', 'npx', ['--yes', `--package=${packageManager}`, '--call=node -p process.env.PATH'])
  env.PATH = `${found.trim().split('\n').at(-1)}${delimiter}${env.PATH}`
  await step('install', 'pnpm', ['install', '--frozen-lockfile', '--prefer-offline'])
}

/** Runs one step quietly: one line with its time, and everything it said only when it fails. Answers its stdout. */
async function step(title, command, args) {
  const startedAt = performance.now()
  const child = start(command, args, ['ignore', 'pipe', 'pipe'])
  let stdout = ''
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
    output += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  const code = await ended(child)
  const took = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`
  if (code === 0) {
    console.log(`${title.padEnd(10)} ${took}`)
    return stdout
  }
  console.log(`${title.padEnd(10)} ${took}  FAILED\n\n${output}`)
  fail(`${title} failed (exit ${code}).${title === 'lint' ? ' `npm run format` mends most of it.' : ''}`)
}

/** The long-running part: this process is from here on only the one who hands signals on. */
async function become(command, args) {
  process.exit(await ended(start(command, args, 'inherit')))
}

// A group of its own: the terminal's Ctrl-C comes once, from here, and the whole group can be ended.
function start(command, args, stdio) {
  current = spawn(command, args, { cwd: root, env, stdio, detached: true })
  return current
}

function ended(child) {
  return new Promise((resolve) => {
    child.on('error', (error) => fail(`${child.spawnfile} did not start: ${error.message}`))
    child.on('close', (code, signal) => {
      killGroup(child, 'SIGKILL')
      if (stopping) process.exit(stopping === 'SIGINT' ? 130 : 143)
      resolve(code ?? `by ${signal}`)
    })
  })
}

// A terminal and npm may both hand over the same Ctrl-C: it is sent on once.
function stop(signal) {
  if (stopping) return
  stopping = signal
  if (!current) process.exit(signal === 'SIGINT' ? 130 : 143)
  current.kill(signal)
  setTimeout(() => killGroup(current, 'SIGKILL'), graceMs)
}

function killGroup(child, signal) {
  try {
    process.kill(-child.pid, signal)
  } catch {
    // Nothing is left of it.
  }
}

function fail(message) {
  console.error(message)
  // The last line tells the count, also when it did not come to the tests.
  if (name.startsWith('test')) console.log('0 passed, 1 failed')
  process.exit(1)
}
