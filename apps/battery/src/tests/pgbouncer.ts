import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { freePort, type PostgresServer, serverUser } from '@pgq/test-db'
import pg from 'pg'
import { type BatteryTest, expectNone, Skipped } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { type TestContext, until } from '../test-context.js'
import { openQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const POOL_SIZE = 8
const LEASE_MS = 2_000

/** Everything goes through PgBouncer in transaction mode: no session is anybody's own. */
export const pgbouncer: BatteryTest = {
  number: 22,
  name: 'pgbouncer',
  mutants: [
    {
      name: 'the settings are sent through a pooler, too',
      patches: [
        {
          file: 'packages/worker/src/session.ts',
          find: 'if (!this.isPooled) await client.query(`',
          replace: 'await client.query(`',
        },
      ],
    },
    {
      name: 'a worker behind a pooler counts on its locks',
      patches: [
        {
          file: 'packages/worker/src/probe.ts',
          find: 'if (session.isPooled) return { locks: false, listens: false }',
          replace: 'if (session.isPooled) return { locks: true, listens: false }',
        },
      ],
    },
    {
      name: 'an enqueue is kept by name, whoever is at the other end',
      patches: [
        {
          file: 'packages/core/src/prepared.ts',
          find: 'rows[0]?.pid === client.processID',
          replace: 'true',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const program = findPgbouncer()
    const server = await context.server()
    const queue = await context.queue(server)
    const through = await startPgbouncer(context, program, server)
    const url = through(queue.url)
    const pooled = await openQueue(url, queue.folder)
    context.onEnd(() => pooled.close())
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: { transactional: 2 }, leaseMs: LEASE_MS, maxCrashes: 1_000 }
    const tell = ['capability.missed'] as const
    const crew = await startCrew(context, 2, () => context.worker(queue, { url, tasks, tell, options }))
    const missed = crew.members[0]!.told.filter(([event]) => event === 'capability.missed')
    const [jobs, kills] = long ? [5_000, 50] : [300, 3]
    const batch = Math.ceil(jobs / kills)
    for (let kill = 0; kill < kills; kill++) {
      for (const task of tasks) await pooled.enqueue(task, works(batch, random, 60, kill * batch))
      const victim = await crew.pick()
      await victim.heard('run')
      victim.kill('SIGKILL')
    }
    const account = await verify(context, queue)
    const found = missed.map(([, { capability }]) => capability).sort()
    expectNone([
      found.join() !== 'locks,notify' && `The worker reported as missing: ${found.join() || 'nothing'}.`,
      ...(await traces(url)),
    ])
    return (
      `${account.jobs} jobs in ${account.runs} runs through ${POOL_SIZE} sessions, ${kills} kills: none lost, effects once; ` +
      'no setting, lock, LISTEN or prepared statement left in any session'
    )
  },
}

/** What the workers left behind in the sessions that everybody shares. */
async function traces(url: string): Promise<string[]> {
  const clients = await Promise.all(
    Array.from({ length: POOL_SIZE }, async () => {
      const client = new pg.Client(url)
      await client.connect()
      // Until all have one: each in a session of its own.
      await client.query('begin')
      return client
    }),
  )
  const found = await Promise.all(clients.map((client) => client.query(TRACES).then(({ rows }) => rows)))
  for (const client of clients) await client.query('rollback').then(() => client.end())
  return [...new Set(found.flat().map(({ trace }) => `A session kept ${trace}.`))]
}

// The others are PgBouncer's own doing: it keeps them per client.
const TRACES = `
  select name || ' = ' || setting as trace from pg_settings where source = 'session'
    and name not in ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings', 'IntervalStyle')
  union all select 'the advisory lock ' || objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
  union all select 'LISTEN ' || channel from pg_listening_channels() as channel
  union all select 'the prepared statement ' || name from pg_prepared_statements`

function findPgbouncer(): string {
  for (const program of ['pgbouncer', '/usr/sbin/pgbouncer']) {
    try {
      execFileSync(program, ['--version'], { stdio: 'ignore' })
      return program
    } catch {}
  }
  throw new Skipped('there is no pgbouncer on this machine (Debian: apt-get install pgbouncer)')
}

/** Starts it in front of the server; answers how to turn a URL of the server into one of the pooler. */
async function startPgbouncer(
  { folder, onEnd }: TestContext,
  program: string,
  server: PostgresServer,
): Promise<(url: string) => string> {
  const { username, password, port: serverPort } = new URL(server.url)
  const port = await freePort()
  const config = join(folder, 'pgbouncer.ini')
  const users = join(folder, 'users.txt')
  writeFileSync(users, `"${username}" "${password}"\n`)
  writeFileSync(
    config,
    `[databases]\n* = host=127.0.0.1 port=${serverPort}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = ${port}\n` +
      `unix_socket_dir =\npool_mode = transaction\ndefault_pool_size = ${POOL_SIZE}\nmax_client_conn = 500\n` +
      `auth_type = plain\nauth_file = ${users}\nserver_round_robin = 1\n`,
  )
  chmodSync(folder, 0o755)
  // It refuses to run as root.
  const child = spawn(program, [config], { stdio: 'ignore', ...serverUser() })
  const ended = once(child, 'exit')
  const end = () => void child.kill('SIGKILL')
  process.once('exit', end)
  onEnd(async () => {
    end()
    process.off('exit', end)
    await ended
  })
  await until('pgbouncer answers', () => answers(port))
  return (url) => Object.assign(new URL(url), { port: String(port) }).href
}

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true)).on('error', () => resolve(false))
    socket.on('connect', () => socket.destroy())
  })
