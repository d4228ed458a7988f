import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, totalmem, type } from 'node:os'
import pg from 'pg'
import type { Servers } from './servers.js'
import { type SystemName, systemEntry } from './systems/index.js'

const folder = new URL('../', import.meta.url)
const { dependencies } = manifestIn('.')

/** What a result depends on: names and their versions or values. */
export type Machine = Readonly<Record<string, string>>

/** Describes the machine and the versions that run, not those that were asked for. Throws when a peer is not the pinned one. */
export async function describeMachine(servers: Servers, systems: readonly SystemName[]): Promise<Machine> {
  const [cpu] = cpus()
  const peers = [...new Set(systems.map((name) => systemEntry(name).package))].filter((name) => name !== undefined)
  return {
    machine: `${cpus().length} x ${cpu?.model.trim() ?? 'CPU'}, ${Math.round(totalmem() / 2 ** 30)} GB, ${type()}`,
    node: process.versions.node,
    postgres: await postgresVersion(servers.postgresUrl),
    ...(servers.redis ? { redis: servers.redis.version } : {}),
    ...Object.fromEntries([...peers, 'pg'].map((name) => [name, installedVersion(name)])),
    ...commit(),
  }
}

/** npm may silently install an older version where the pinned one does not support this Node. */
function installedVersion(name: string): string {
  const { version } = manifestIn(`./node_modules/${name}`)
  const pinned = dependencies[name]
  if (pinned && /^\d/.test(pinned) && pinned !== version) {
    throw new Error(`${name} is ${version}, but package.json says ${pinned}: install again.`)
  }
  return version
}

// Read as a file: the exports of a package may hide it.
function manifestIn(path: string): { version: string; dependencies: Record<string, string> } {
  return JSON.parse(readFileSync(new URL(`${path}/package.json`, folder), 'utf8'))
}

/** Of this repository; the versions of its packages do not tell one change from the next. */
function commit(): Machine {
  try {
    return { commit: execFileSync('git', ['rev-parse', '--short', 'HEAD'], { cwd: folder, encoding: 'utf8' }).trim() }
  } catch {
    return {}
  }
}

async function postgresVersion(url: string): Promise<string> {
  const client = new pg.Client(url)
  await client.connect()
  const { rows } = await client.query(`
    select current_setting('server_version') as version,
      string_agg(format('%s=%s', name, setting), ', ' order by name) as settings
    from pg_settings
    where name in ('fsync', 'synchronous_commit', 'shared_buffers', 'full_page_writes', 'shared_preload_libraries')`)
  await client.end()
  return `${rows[0].version} (${rows[0].settings})`
}

/** Whether a program, if one is needed, is installed. */
export function isThere(program: string | undefined): boolean {
  if (program === undefined) return true
  try {
    execFileSync(program, ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}
