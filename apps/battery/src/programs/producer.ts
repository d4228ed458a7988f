// A program that enqueues inside its own transactions, half of which it rolls back. Its one argument is ProducerProgram as JSON.
import { setTimeout as sleep } from 'node:timers/promises'
import { enqueue } from '@pgq/core'
import pg from 'pg'

export interface ProducerProgram {
  readonly url: string
  /** The first number of its orders; each producer has a million of its own. */
  readonly from: number
  readonly clients: number
}

const { url, from, clients }: ProducerProgram = JSON.parse(process.argv[2]!)
let next = from
process.on('disconnect', () => process.exit(1))

async function produce(): Promise<never> {
  const client = new pg.Client(url)
  client.on('error', () => {})
  await client.connect()
  for (;;) {
    const n = next++
    await client.query('begin')
    // In both orders, so that the job's statement meets a transaction that has written, and one that has not.
    const both = [() => client.query('insert into orders values ($1)', [n]), () => enqueue(client, 'plain', { n })]
    for (const write of n % 2 ? both : both.reverse()) await write()
    await sleep(Math.random() * 4)
    await client.query(Math.random() < 0.5 ? 'commit' : 'rollback')
  }
}

for (let count = 0; count < clients; count++) void produce()
process.send?.(['ready', {}])
