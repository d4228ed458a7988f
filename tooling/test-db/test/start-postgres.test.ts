import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { isAlive } from '@pgq/config/is-alive'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { type PostgresServer, startPostgres } from '../src/index.js'

async function query(url: string, sql: string) {
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  return (await client.query(sql).finally(() => client.end())).rows
}

async function settingsOf(url: string, names: readonly string[]): Promise<Record<string, string>> {
  const rows = await query(url, `select name, setting from pg_settings where name in ('${names.join("', '")}')`)
  return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]))
}

const safety = ['fsync', 'synchronous_commit', 'full_page_writes']

describe('startPostgres with settings', () => {
  const settings = { wal_level: 'logical', max_connections: 20, shared_preload_libraries: 'pg_stat_statements' }
  let server: PostgresServer

  beforeAll(async () => {
    server = await startPostgres({ fast: true, settings })
  })
  afterAll(() => server.stop())

  test('answers on 127.0.0.1 only, and never runs as root', async () => {
    const { url, port, pid } = server
    expect(new URL(url)).toMatchObject({ hostname: '127.0.0.1', port: String(port) })
    expect(await settingsOf(url, ['listen_addresses', 'unix_socket_directories'])).toEqual({
      listen_addresses: '127.0.0.1',
      unix_socket_directories: '',
    })
    if (process.platform === 'linux') expect(statSync(`/proc/${pid}`).uid).not.toBe(0)
  })

  test('asks for a password', async () => {
    const url = Object.assign(new URL(server.url), { password: 'wrong' }).href
    await expect(query(url, 'select 1')).rejects.toMatchObject({ code: '28P01' })
  })

  test('has them, and the extensions of contrib', async () => {
    expect(await settingsOf(server.url, Object.keys(settings))).toEqual({ ...settings, max_connections: '20' })
    await query(server.url, 'create extension pg_stat_statements')
  })

  test('does not wait for the disk when it is to be fast', async () => {
    expect(await settingsOf(server.url, safety)).toEqual(Object.fromEntries(safety.map((name) => [name, 'off'])))
  })
})

describe('startPostgres', () => {
  let server: PostgresServer

  beforeAll(async () => {
    server = await startPostgres()
  })
  afterAll(() => server.stop())

  // Catches: a default of fast: true, with which a test of a crash would prove nothing.
  test('keeps what it promised', async () => {
    expect(await settingsOf(server.url, safety)).toEqual(Object.fromEntries(safety.map((name) => [name, 'on'])))
  })

  test.each(['fast', 'immediate', 'kill'] as const)('restarts with the same data after %s', async (mode) => {
    const { url, pid } = server
    await query(url, `create table ${mode} as select 42 as answer`)
    let whileDown: unknown
    await server.restart(mode, async () => {
      whileDown = await query(url, 'select 1').catch((error) => error.code)
    })
    expect(whileDown).toBe('ECONNREFUSED')
    expect(await query(url, `select answer from ${mode}`)).toEqual([{ answer: 42 }])
    expect(server.pid).not.toBe(pid)
  })

  test('stops and leaves nothing, also when asked twice', async () => {
    const { dataDir, pid } = server
    await Promise.all([server.stop(), server.stop()])
    expect(existsSync(dirname(dataDir))).toBe(false)
    expect(isAlive(pid)).toBe(false)
  })
})

// At the same time, for most of it is waiting for processes to start.
describe.concurrent('when the launcher dies', { timeout: 60_000 }, () => {
  interface Launched {
    readonly pid: number
    readonly dataDir: string
  }

  type OnTestFinished = TestContext['onTestFinished']

  const program = `
    import { startPostgres } from ${JSON.stringify(new URL('../src/index.ts', import.meta.url).href)}
    const { pid, dataDir } = await startPostgres({ fast: true })
    console.log(JSON.stringify({ pid, dataDir }))
    process.stdin.resume()`

  async function launch(
    onTestFinished: OnTestFinished,
  ): Promise<{ launcher: ReturnType<typeof spawn>; launched: Launched }> {
    const cwd = fileURLToPath(new URL('..', import.meta.url))
    const launcher = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '--eval', program], {
      cwd,
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    onTestFinished(() => void launcher.kill('SIGKILL'))
    const [line] = await once(createInterface(launcher.stdout), 'line')
    return { launcher, launched: JSON.parse(line) }
  }

  // Catches: no supervisor, or one that does not watch its pipe.
  test.for(['SIGKILL', 'SIGTERM', 'SIGINT'] as const)(
    'by %s, the server dies and its data goes',
    async (signal, { expect, onTestFinished }) => {
      const { launcher, launched } = await launch(onTestFinished)
      launcher.kill(signal)
      await expect.poll(() => isAlive(launched.pid), { timeout: 10_000, interval: 20 }).toBe(false)
      await expect.poll(() => existsSync(dirname(launched.dataDir)), { timeout: 10_000, interval: 20 }).toBe(false)
    },
  )

  // Catches: no sweep, and a sweep that leaves the server running.
  test.runIf(process.platform === 'linux')(
    'together with the supervisor, the next start sweeps up',
    async ({ expect, onTestFinished }) => {
      const bystander = await startPostgres({ fast: true })
      onTestFinished(() => bystander.stop('immediate'))
      const { launcher, launched } = await launch(onTestFinished)
      process.kill(parentOf(launched.pid), 'SIGKILL')
      launcher.kill('SIGKILL')
      await once(launcher, 'exit')
      const next = await startPostgres({ fast: true })
      onTestFinished(() => next.stop('immediate'))
      await expect.poll(() => isAlive(launched.pid), { timeout: 10_000, interval: 20 }).toBe(false)
      expect(existsSync(dirname(launched.dataDir))).toBe(false)
      expect(await query(bystander.url, 'select 1 as one')).toEqual([{ one: 1 }])
    },
  )

  test('a server does not keep its launcher alive', async ({ expect, onTestFinished }) => {
    const { launcher, launched } = await launch(onTestFinished)
    launcher.stdin?.end()
    expect(await once(launcher, 'exit')).toEqual([0, null])
    await expect.poll(() => isAlive(launched.pid), { timeout: 10_000, interval: 20 }).toBe(false)
  })
})

function parentOf(pid: number): number {
  return Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
}

// Mutant: a copy without its backup label starts as a server of its own, or not at all.
test('a standby follows its primary, and is one itself when promoted', async () => {
  const primary = await startPostgres()
  await query(primary.url, 'create table notes (text text)')
  const standby = await startPostgres({ standbyOf: primary })
  try {
    await query(primary.url, "insert into notes values ('later')")
    const caughtUp = () => query(standby.url, 'select text from notes')
    await expect.poll(caughtUp, { timeout: 10_000 }).toEqual([{ text: 'later' }])
    await primary.stop('kill')
    await query(standby.url, 'select pg_promote()')
    await query(standby.url, "insert into notes values ('own')")
  } finally {
    await primary.stop()
    await standby.stop()
  }
}, 30_000)
