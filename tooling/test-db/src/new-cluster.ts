import { type ExecFileOptions, execFile } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Binaries } from './binaries.js'
import { giveTo } from './server-folder.js'
import type { ServerUser } from './server-user.js'

const ownCache = fileURLToPath(new URL('../node_modules/.cache/', import.meta.url))

// The locale is the server's own and always the same; and nothing that a crash of the machine could lose is kept here.
const initdbOptions = [
  '--encoding=UTF8',
  '--locale=C',
  '--locale-provider=builtin',
  '--builtin-locale=C.UTF-8',
  '--no-sync',
  '--set=scram_iterations=1',
]

/**
 * Makes the files of a new server in `${folder}/data`, and answers the superuser's password. What initdb makes is always the same: it is
 * kept, and copied the next time, which takes a quarter of the time.
 */
export async function newCluster(
  folder: string,
  binaries: Binaries,
  user: ServerUser | undefined,
  cache = ownCache,
): Promise<string> {
  const kept = join(cache, nameOf(binaries, user))
  const password = (await copyTo(folder, kept)) ?? (await initdb(folder, binaries, user))
  if (!existsSync(kept)) await keep(folder, password, kept)
  return password
}

const nameOf = ({ initdb }: Binaries, user: ServerUser | undefined): string =>
  `pgq-cluster-${createHash('sha256')
    .update([initdb, user?.uid ?? process.getuid?.(), ...initdbOptions].join('\n'))
    .digest('hex')
    .slice(0, 16)}`

async function initdb(folder: string, binaries: Binaries, user: ServerUser | undefined): Promise<string> {
  const password = randomBytes(12).toString('hex')
  const passwordFile = join(folder, 'password')
  writeFileSync(passwordFile, password, { mode: 0o600 })
  giveTo(user, passwordFile)
  const args = [
    `--pgdata=${join(folder, 'data')}`,
    '--username=postgres',
    '--auth=password',
    `--pwfile=${passwordFile}`,
  ]
  await run(binaries.initdb, [...args, ...initdbOptions], { cwd: folder, ...user })
  rmSync(passwordFile)
  return password
}

async function copyTo(folder: string, kept: string): Promise<string | undefined> {
  if (!existsSync(kept)) return undefined
  try {
    await copyFiles(join(kept, 'data'), join(folder, 'data'))
    return readFileSync(join(kept, 'password'), 'utf8')
  } catch {
    // Half of it, or somebody else's: make another.
    rmSync(join(folder, 'data'), { recursive: true, force: true })
    return undefined
  }
}

/** Under its name when it is complete: somebody else may be doing the same. */
async function keep(folder: string, password: string, kept: string): Promise<void> {
  let made: string | undefined
  try {
    mkdirSync(dirname(kept), { recursive: true })
    made = mkdtempSync(`${kept}-`)
    await copyFiles(join(folder, 'data'), join(made, 'data'))
    writeFileSync(join(made, 'password'), password, { mode: 0o600 })
    renameSync(made, kept)
  } catch {
    // It is only slower without.
    if (made) rmSync(made, { recursive: true, force: true })
  }
}

/** With their owners and permissions, which PostgreSQL insists on. Node's own copying takes twice as long. */
const copyFiles = (from: string, to: string) => run('cp', ['-a', from, to])

/** Runs a program that does not outlive this process: it would go on writing to a folder that is being removed. */
async function run(program: string, args: readonly string[], options: ExecFileOptions = {}): Promise<void> {
  const running = promisify(execFile)(program, args, options)
  const kill = () => running.child.kill('SIGKILL')
  process.once('exit', kill)
  try {
    await running
  } finally {
    process.off('exit', kill)
  }
}
