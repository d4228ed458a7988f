import { execFileSync } from 'node:child_process'

/** Whom a server runs as, when it cannot be the caller. */
export interface ServerUser {
  readonly uid: number
  readonly gid: number
}

/** PostgreSQL refuses to run as root, so root's servers run as `postgres`, else `nobody`: initdb wants a user with a name. */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const user = userNamed(name)
    if (user) return user
  }
  throw new Error(
    'PostgreSQL does not run as root, and there is no user postgres or nobody to run it: add one of them.',
  )
}

function userNamed(name: string): ServerUser | undefined {
  try {
    return { uid: idOf('-u', name), gid: idOf('-g', name) }
  } catch {
    return undefined
  }
}

function idOf(flag: '-u' | '-g', name: string): number {
  return Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }))
}
