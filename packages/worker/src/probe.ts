import { randomInt } from 'node:crypto'
import { InvalidOptionError, StandbyError } from '@pgq/core'
import type { Connection } from './connection.js'
import type { ResolvedOptions } from './options.js'
import type { Session } from './session.js'
import { WakeUp } from './wake-up.js'

const NOTIFY_DEADLINE_MS = 2_000

/** What the way to this database allows. */
export interface Capabilities {
  /** A session's advisory lock refuses other sessions, and is gone when its connection is. */
  readonly locks: boolean
  /** NOTIFY reaches a listening connection. */
  readonly listens: boolean
}

/** Tries what the worker would rely on, on two connections. Throws when the worker cannot work here at all. */
export async function probe(
  session: Session,
  options: ResolvedOptions,
  one: Connection,
  other: Connection,
): Promise<Capabilities> {
  // Both open at the same time; what is wrong with the first is told when it is needed.
  one.client().catch(() => {})
  // Not on the listening connection: a standby refuses LISTEN, with an error that does not say what to do.
  const { rows } = await other.query(`
    select pg_is_in_recovery() as "isStandby", current_setting('max_connections')::integer as max,
      current_setting('superuser_reserved_connections')::integer as reserved`)
  const [server] = rows as [{ isStandby: boolean; max: number; reserved: number }]
  if (server.isStandby) throw new StandbyError()
  if (session.isPooled) return { locks: false, listens: false }
  checkConnections(options, server.max - server.reserved)
  return {
    locks: await refusesOthers(one, other),
    listens: options.doorbell && (await hearsNotify(one, other)),
  }
}

function checkConnections({ modes, concurrency }: ResolvedOptions, allowed: number): void {
  const durableClaims = modes.includes('at-most-once') ? 1 : 0
  const slots = modes.includes('transactional') ? concurrency.transactional : 0
  const needed = 3 + durableClaims + slots
  if (needed <= allowed) return
  throw new InvalidOptionError(
    `The worker needs ${needed} connections (3${durableClaims ? ' + 1 for at-most-once' : ''} + ${slots} transactional slots), and the server allows ${allowed}: lower concurrency.transactional, or raise max_connections.`,
  )
}

/** False on servers that take advisory locks without holding them, such as CockroachDB. */
async function refusesOthers(one: Connection, other: Connection): Promise<boolean> {
  const key = `${randomInt(2 ** 31)}, ${randomInt(2 ** 31)}`
  await one.query(`select pg_advisory_lock(${key})`)
  try {
    const { rows } = await other.query(`select pg_try_advisory_lock(${key}) as taken`)
    return rows[0]?.taken === false
  } finally {
    await one.query(`select pg_advisory_unlock(${key})`)
  }
}

async function hearsNotify(one: Connection, other: Connection): Promise<boolean> {
  const channel = `pgq_probe_${randomInt(2 ** 47)}`
  const client = await one.client()
  const heard = new WakeUp()
  client.on('notification', (message) => message.channel === channel && heard.ring())
  try {
    await one.query(`listen ${channel}`)
    await other.query(`notify ${channel}`)
    return await heard.wait(NOTIFY_DEADLINE_MS)
  } catch {
    return false
  } finally {
    await one.query(`unlisten ${channel}`).catch(() => {})
  }
}
