import { startProxy } from '@pgq/test-db'
import type pg from 'pg'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { breaksConnection, Connection } from '../src/connection.js'
import { gate, pause, queue, until } from './queue.js'

const db = await queue()
const proxy = await startProxy(Number(new URL(db.url).port))
afterAll(() => proxy.close())

/** A connection, and the clients that it opened and lost. */
function open(
  options: { prepare?: (client: pg.Client) => Promise<void>; keepsStatements?: boolean; deadlineMs?: number } = {},
) {
  const clients: pg.Client[] = []
  const losses: Error[] = []
  const connection = new Connection(
    { connectionString: proxy.through(db.url) },
    async (client) => {
      clients.push(client)
      await options.prepare?.(client)
      return { keepsStatements: options.keepsStatements ?? true }
    },
    (error) => losses.push(error),
    options.deadlineMs,
  )
  onTestFinished(() => connection.close())
  return { connection, clients, losses }
}
const pid = async (connection: Connection) => (await connection.query('select pg_backend_pid() as pid')).rows[0].pid

describe('a connection', () => {
  test('opens when it is first used, once, and prepares each client before anything else', async () => {
    const { connection, clients } = open({
      prepare: async (client) => void (await client.query("set my.setting = 'x'")),
    })
    expect(clients.length).toBe(0)
    const read = () => connection.query("select current_setting('my.setting') as setting")
    const both = await Promise.all([read(), read()])
    expect(both.map(({ rows }) => rows[0].setting)).toEqual(['x', 'x'])
    expect(clients.length).toBe(1)
  })

  // Mutant: statements sent at the same time: what one piece of work does in several steps is mixed with another's.
  test('does one piece of work after the other, also after one that failed', async () => {
    const { connection } = open()
    const order: string[] = []
    const go = gate()
    const first = connection.use(async () => {
      order.push('first begins')
      await go.opened
      order.push('first fails')
      throw Object.assign(new Error('no'), { code: '22012' })
    })
    const second = connection.use(async () => void order.push('second'))
    await pid(open().connection)
    go.open()
    await expect(first).rejects.toThrow('no')
    await second
    expect(order).toEqual(['first begins', 'first fails', 'second'])
  })

  test('gives up a statement that is not answered in time', async () => {
    const { connection, losses } = open({ deadlineMs: 100 })
    const before = await pid(connection)
    await expect(connection.query('select pg_sleep(30)')).rejects.toThrow('Query read timeout')
    expect(await pid(connection)).not.toBe(before)
    expect(losses).toHaveLength(1)
  })

  // Mutant: pg's query_timeout: the claim of an at-most-once lane is given up, with the jobs that it deleted.
  test('reads what was answered in time, also after the event loop stood still for longer', async () => {
    const { connection, losses } = open({ deadlineMs: 100 })
    await pid(connection)
    const answer = connection.query('select 1 as one')
    await new Promise((resolve) => setImmediate(resolve)) // it is sent
    const end = performance.now() + 500
    while (performance.now() < end);
    expect((await answer).rows).toEqual([{ one: 1 }])
    expect(losses).toEqual([])
  })

  // Mutant: what failed takes the newer one along: that one is opened again, and the first of the two never closed.
  test('keeps its client when one that was given up before fails to open', async () => {
    const [begun, fails] = [gate(), gate()]
    const { connection, clients } = open({
      async prepare() {
        if (clients.length > 1) return
        begun.open()
        await fails.opened
        throw new Error('too late')
      },
    })
    const first = connection.client()
    await begun.opened
    void connection.reset()
    const second = await pid(connection)
    fails.open()
    await expect(first).rejects.toThrow('too late')
    expect(await pid(connection)).toBe(second)
    expect(clients).toHaveLength(2)
  })

  test('stays open after an error of a statement', async () => {
    const { connection, losses } = open()
    const before = await pid(connection)
    await expect(connection.query('select 1 / 0')).rejects.toMatchObject({ code: '22012' })
    expect(await pid(connection)).toBe(before)
    expect(losses).toEqual([])
  })

  // Mutants: no listener for errors of an idle client: the process ends; a dropped client that is not opened again.
  test.each([
    ['its backend is terminated', (id: number) => db.pool.query('select pg_terminate_backend($1)', [id])],
    ['the network resets it', async () => proxy.cut()],
  ])('when %s while it is idle, it says so once, and opens again', async (_, kill) => {
    const { connection, clients, losses } = open()
    const before = await pid(connection)
    await kill(before)
    await until(() => losses.length > 0)
    expect(await pid(connection)).not.toBe(before)
    expect([clients.length, losses.length]).toEqual([2, 1])
  })

  test('when it breaks under a statement, that statement rejects, and the next one opens it again', async () => {
    const { connection, clients, losses } = open()
    const sleeping = connection.query('select pg_sleep(60)')
    const next = pid(connection)
    sleeping.catch(() => {})
    await until(() =>
      db.value("select true from pg_stat_activity where query = 'select pg_sleep(60)' and state = 'active'"),
    )
    proxy.cut()
    await expect(sleeping).rejects.toSatisfy(breaksConnection)
    await next
    expect([clients.length, losses.length]).toEqual([2, 1])
  })

  test('whose preparation fails rejects, and tries again at the next use', async () => {
    let tries = 0
    const { connection, clients } = open({
      prepare: async () => {
        if (++tries === 1) throw new Error('not yet')
      },
    })
    await expect(connection.query('select 1')).rejects.toThrow('not yet')
    await connection.query('select 1')
    expect(clients.length).toBe(2)
  })

  // Mutant: a second close of the same client, or a close that leaves the way open.
  test('closed, runs nothing any more', async () => {
    const { connection, losses } = open()
    const before = await pid(connection)
    expect(connection.closed.aborted).toBe(false)
    await connection.close()
    await connection.close()
    expect(connection.closed.aborted).toBe(true)
    await expect(connection.query('select 1')).rejects.toThrow('This connection was closed.')
    await until(async () => (await db.value('select count(*) from pg_stat_activity where pid = $1', [before])) === '0')
    expect(losses).toEqual([])
  })

  // Mutant: a close that leaves alone what is only being opened: it waits for an answer that does not come.
  test('closed while it opens: whoever waits for it hears of it, and nothing stays open', async () => {
    const { connection, clients } = open()
    proxy.pause()
    const waiting = connection.query('select 1')
    waiting.catch(() => {})
    await pause(20) // it is under way
    const start = performance.now()
    await connection.close()
    await expect(waiting).rejects.toThrow()
    expect(performance.now() - start).toBeLessThan(3_000)
    proxy.resume()
    expect(clients.length).toBe(0)
  })

  // Mutant: a close that waits for the server's goodbye.
  test('closes although the network is gone', async () => {
    const { connection } = open()
    await connection.query('select 1')
    proxy.pause()
    const start = performance.now()
    await connection.close()
    expect(performance.now() - start).toBeLessThan(3_000)
    proxy.resume()
  })

  test('prepares statements by name, and behind a pooler it does not', async () => {
    const { connection } = open()
    const long = `${'s'.repeat(48)}.rescue_lost_workers`
    for (let n = 0; n < 2; n++)
      expect((await connection.queryPrepared(long, 'select $1::int as n', [n])).rows).toEqual([{ n }])
    const names = async (on: Connection) => (await on.query('select name from pg_prepared_statements')).rows
    expect(await names(connection)).toEqual([{ name: long.slice(-63) }])
    const { connection: pooled } = open({ keepsStatements: false })
    await pooled.queryPrepared('x', 'select $1::int as n', [1])
    expect(await names(pooled)).toEqual([])
  })
})

describe('breaksConnection', () => {
  test.each([
    ['a socket error', 'ECONNRESET', true],
    ['a socket error of five letters', 'EPIPE', true],
    ['no code: a time-out, a closed client', undefined, true],
    ['connection failure', '08006', true],
    ['protocol violation', '08P01', true],
    ['admin shutdown', '57P01', true],
    ['crash shutdown', '57P02', true],
    ['cannot connect now', '57P03', true],
    ['read-only: a primary that became a standby', '25006', true],
    ['query cancelled, statement timeout', '57014', false],
    ['lock not available', '55P03', false],
    ['deadlock', '40P01', false],
    ['serialization failure', '40001', false],
    ['unique violation', '23505', false],
    ['out of memory', '53200', false],
    ['a numeric code', 7, true],
  ])('%s (%s): %s', (_, code, breaks) => {
    expect(breaksConnection(Object.assign(new Error('x'), { code }))).toBe(breaks)
  })

  test.each([null, undefined, 'text'])('%s was thrown: true', (thrown) => expect(breaksConnection(thrown)).toBe(true))
})
