import { registerWorker } from '@pgq/core'
import { expect, onTestFinished, test } from 'vitest'
import type { Connection } from '../src/connection.js'
import { resolveOptions } from '../src/options.js'
import { Session } from '../src/session.js'
import { numbered, queue, until } from './queue.js'

const db = await queue()

const pidOf = async (connection: Connection): Promise<number> =>
  (await connection.query('select pg_backend_pid() as pid')).rows[0].pid

// Mutants: no limit: a worker that freezes in a transaction of pgq's own holds its locks until the lease is over; this limit for handlers, too.
test('an open transaction of its own is ended soon, one of a handler when the server says so', async () => {
  const session = new Session(resolveOptions({ connectionString: db.url, handlers: [numbered().handle(() => {})] }))
  onTestFinished(() => session.close())
  const own = session.open()
  const setting = async (connection: Connection) =>
    (await connection.query('show idle_in_transaction_session_timeout')).rows[0].idle_in_transaction_session_timeout
  expect(await setting(own)).toBe('9s')
  await session.registered(1, own)
  expect(await setting(session.openForHandlers())).toBe('0')
})

// A server on Windows knows no such check, and refuses the setting: the rest of them is kept.
test('a statement whose client is gone is found out', async () => {
  const session = new Session(resolveOptions({ connectionString: db.url, handlers: [numbered().handle(() => {})] }))
  onTestFinished(() => session.close())
  const { rows } = await session.open().query('show client_connection_check_interval')
  expect(rows).toEqual([{ client_connection_check_interval: '500ms' }])
})

// Mutant: the setting of the role or database counts: the listener is lost again and again while nothing happens.
test('its connections are not closed for being idle', async () => {
  const connection = { connectionString: db.url, options: '-c idle_session_timeout=3s' }
  const session = new Session(resolveOptions({ connection, handlers: [numbered().handle(() => {})] }))
  onTestFinished(() => session.close())
  const own = session.open()
  await session.registered(1, own)
  for (const connection of [own, session.openForHandlers()])
    expect((await connection.query('show idle_session_timeout')).rows).toEqual([{ idle_session_timeout: '0' }])
})

// Mutants: the setting of the role or database counts: a crash of the server gives back at-most-once jobs that ran; "on" in place of more.
test('what it writes waits for the disk, unless the connection says otherwise', async () => {
  const settings = async (given: string) => {
    const connection = { connectionString: db.url, options: `-c synchronous_commit=${given}` }
    const session = new Session(resolveOptions({ connection, handlers: [numbered().handle(() => {})] }))
    onTestFinished(() => session.close())
    const own = session.open()
    await session.registered(1, own)
    const others = [session.open({ settings: 'set synchronous_commit = off' }), session.openForHandlers()]
    return Promise.all(
      [own, ...others].map(
        async (opened) => (await opened.query('show synchronous_commit')).rows[0].synchronous_commit,
      ),
    )
  }
  expect(await settings('off')).toEqual(['on', 'off', 'off'])
  expect(await settings('remote_apply')).toEqual(['remote_apply', 'off', 'remote_apply'])
})

// Mutant: such a connection goes on without its share: if this worker froze, nobody could end it.
test('a connection that cannot take its share of the liveness lock begins anew, with its share', async () => {
  const session = new Session(resolveOptions({ connectionString: db.url, handlers: [numbered().handle(() => {})] }))
  onTestFinished(() => session.close())
  const [control, other] = [session.open(), session.open()]
  await pidOf(control)
  const pid = await pidOf(other)
  const worker = { hostname: 'here', pid: 1, queues: ['default'], tasks: ['work'], locks: false }
  const id = await registerWorker(control, 'pgq', worker)
  const key = `'pgq.workers'::regclass::oid::integer, ${id}`
  const holder = await db.pool.connect()
  await holder.query(`select pg_advisory_lock(${key})`)

  const registered = session.registered(id, control)
  const isWaiting = `select exists (select from pg_locks where pid = ${pid} and not granted)`
  await until(async () => await db.value(isWaiting))
  await db.pool.query(`select pg_cancel_backend(${pid})`)
  await registered
  await holder.query(`select pg_advisory_unlock(${key})`)
  holder.release()

  const newPid = await pidOf(other)
  expect(newPid).not.toBe(pid)
  const shares = await db.rows(
    `select pid from pg_locks join pg_database as here on here.oid = database and datname = current_database()
     where locktype = 'advisory' and objid = ${id} and granted`,
  )
  expect(shares).toEqual([{ pid: newPid }])
})
