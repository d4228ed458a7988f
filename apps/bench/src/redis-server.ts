import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'

export interface RedisServer {
  readonly url: string
  readonly pid: number
  readonly version: string
  stop(): Promise<void>
}

/** The version of the installed redis-server, if there is one. */
function redisVersion(): string | undefined {
  try {
    return /v=(\S+)/.exec(execFileSync('redis-server', ['--version'], { encoding: 'utf8' }))?.[1]
  } catch {
    return undefined
  }
}

/**
 * Redis as people run it under BullMQ: appendonly, fsync once a second. So an answered call may be lost when the machine dies,
 * which no PostgreSQL in the same table allows. Ends with this process, however that ends.
 */
export async function startRedis(): Promise<RedisServer | undefined> {
  const version = redisVersion()
  if (!version) return undefined
  const port = await freePort()
  const folder = mkdtempSync(join(tmpdir(), 'pgq-redis-'))
  const pidFile = join(folder, 'pid')
  const options = `--port ${port} --bind 127.0.0.1 --dir "$1" --pidfile "$1/pid" --appendonly yes --appendfsync everysec --save ""`
  // The shell waits for the end of its input, which comes also when this process is killed.
  const script = `redis-server ${options} --daemonize no >/dev/null & read line; kill $!; wait; rm -rf "$1"`
  const shell = spawn('sh', ['-c', script, 'redis', folder], { stdio: ['pipe', 'ignore', 'inherit'], detached: true })
  const url = `redis://127.0.0.1:${port}`
  await answers(url)
  return {
    url,
    version,
    pid: Number(readFileSync(pidFile, 'utf8')),
    async stop() {
      const exited = once(shell, 'exit')
      shell.stdin.end()
      await exited
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

async function answers(url: string): Promise<void> {
  const client = new Redis(url, { lazyConnect: true, retryStrategy: () => 20 })
  client.on('error', () => {})
  await Promise.race([
    client
      .connect()
      .catch(() => {})
      .then(() => client.ping()),
    sleep(10_000, undefined, { ref: false }).then(() => Promise.reject(new Error('redis-server did not start'))),
  ])
  client.disconnect()
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  return port
}
