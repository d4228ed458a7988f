import { appendFileSync, chmodSync, cpSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import pg from 'pg'
import { type Binaries, reachableBinaries } from './binaries.js'
import { freePort } from './free-port.js'
import { newCluster } from './new-cluster.js'
import { giveTo, makeServerFolder, removeServerFolder, sweepStaleFolders } from './server-folder.js'
import { type RunningServer, runServer, type StopMode } from './server-process.js'
import { type ServerUser, serverUser } from './server-user.js'

export interface PostgresOptions {
  /** For tests that lose nothing when the machine dies: no fsync, no synchronous commit, no full page writes. Default false. */
  readonly fast?: boolean
  /** Any setting of postgresql.conf: `{ wal_level: 'logical', shared_preload_libraries: 'pg_stat_statements' }`. */
  readonly settings?: Readonly<Record<string, string | number | boolean>>
  /** Default: a free one. */
  readonly port?: number
  /** A streaming standby of that server, copied while it runs; the same users and passwords. `select pg_promote()` ends that. */
  readonly standbyOf?: Pick<PostgresServer, 'url' | 'port' | 'dataDir'>
}

export interface PostgresServer {
  /** Of the superuser, in the database `postgres`. */
  readonly url: string
  readonly port: number
  readonly dataDir: string
  /** Of the postmaster; another one after a restart. */
  readonly pid: number
  /** Ends the server and removes its data. Default mode: fast. Safe to call twice. */
  stop(mode?: StopMode): Promise<void>
  /** The same data and the same port again. `whileDown` runs between the end of the old and the start of the new server. */
  restart(mode?: StopMode, whileDown?: () => unknown): Promise<void>
}

interface Cluster {
  readonly folder: string
  readonly dataDir: string
  readonly binaries: Binaries
  readonly user: ServerUser | undefined
  readonly password: string
}

const defaults = { max_connections: 300, listen_addresses: '127.0.0.1', unix_socket_directories: '' }
const fastSettings = { fsync: 'off', synchronous_commit: 'off', full_page_writes: 'off' }
const startAttempts = 3

/**
 * A PostgreSQL server of its own on 127.0.0.1, in the temporary folder of the machine. It ends with this process, however that
 * ends, and does not keep it alive.
 */
export async function startPostgres(options: PostgresOptions = {}): Promise<PostgresServer> {
  sweepStaleFolders()
  const user = serverUser()
  const folder = makeServerFolder(user)
  try {
    const { standbyOf } = options
    const cluster = standbyOf ? await copy(standbyOf, folder, user) : await initialise(folder, user)
    return await serve(cluster, options)
  } catch (error) {
    removeServerFolder(folder)
    throw error
  }
}

async function initialise(folder: string, user: ServerUser | undefined): Promise<Cluster> {
  const binaries = reachableBinaries(folder, user)
  const password = await newCluster(folder, binaries, user)
  return { folder, dataDir: join(folder, 'data'), binaries, user, password }
}

// What pg_basebackup does: that program is not among ours.
async function copy(
  { url, port, dataDir: source }: NonNullable<PostgresOptions['standbyOf']>,
  folder: string,
  user: ServerUser | undefined,
): Promise<Cluster> {
  const dataDir = join(folder, 'data')
  const { password } = new URL(url)
  const client = new pg.Client(url)
  await client.connect()
  try {
    await client.query("select pg_backup_start('standby', true)")
    cpSync(source, dataDir, { recursive: true, filter: (path) => basename(path) !== 'postmaster.pid' })
    const { rows } = await client.query('select labelfile from pg_backup_stop()')
    writeFileSync(join(dataDir, 'backup_label'), rows[0].labelfile)
  } finally {
    await client.end()
  }
  writeFileSync(join(dataDir, 'standby.signal'), '')
  const primary = `host=127.0.0.1 port=${port} user=postgres password=${password}`
  appendFileSync(join(dataDir, 'postgresql.auto.conf'), `primary_conninfo = '${primary}'\n`)
  chmodSync(dataDir, 0o700)
  giveTo(user, dataDir)
  return { folder, dataDir, binaries: reachableBinaries(folder, user), user, password }
}

async function serve(cluster: Cluster, options: PostgresOptions): Promise<PostgresServer> {
  const start = (port: number) => runServer({ ...cluster, args: serverArgs(cluster, options, port) })
  let { port, server } = await startOnFreePort(start, options.port)
  let stopped: Promise<void> | undefined

  return {
    url: `postgres://postgres:${cluster.password}@127.0.0.1:${port}/postgres`,
    port,
    dataDir: cluster.dataDir,
    get pid() {
      return server.pid
    },
    stop(mode = 'fast') {
      stopped ??= server.stop(mode).then(() => removeServerFolder(cluster.folder))
      return stopped
    },
    async restart(mode = 'fast', whileDown = () => {}) {
      await server.stop(mode)
      await whileDown()
      server = await start(port)
    },
  }
}

/** The port may be taken between the question for a free one and the start. */
async function startOnFreePort(start: (port: number) => Promise<RunningServer>, wanted: number | undefined) {
  for (let attempt = 1; ; attempt++) {
    const port = wanted ?? (await freePort())
    try {
      return { port, server: await start(port) }
    } catch (error) {
      const taken = error instanceof Error && /could not bind|Address already in use/.test(error.message)
      if (!taken || wanted !== undefined || attempt === startAttempts) throw error
    }
  }
}

function serverArgs({ dataDir }: Cluster, { fast, settings }: PostgresOptions, port: number): string[] {
  const all = { ...defaults, ...(fast ? fastSettings : {}), ...settings, port }
  return ['-D', dataDir, ...Object.entries(all).flatMap(([name, value]) => ['-c', `${name}=${value}`])]
}
