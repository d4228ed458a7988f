import pg from 'pg'
import type { Place, Runner } from './system.js'

/** A connection that listens on a channel, and on which one may ask for the channel's name. */
export async function listenOn(
  { postgresUrl }: Place,
  channelOf: (client: pg.Client) => string | Promise<string>,
  onWake: () => void,
): Promise<Runner> {
  const client = new pg.Client(postgresUrl)
  await client.connect()
  client.on('notification', onWake)
  await client.query(`listen ${client.escapeIdentifier(await channelOf(client))}`)
  return { stop: () => client.end() }
}
