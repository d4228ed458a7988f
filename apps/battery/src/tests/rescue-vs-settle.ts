import {
  acknowledge,
  claimIntoLease,
  finishInTransaction,
  LostLeaseError,
  registerWorker,
  rescueLostWorkers,
  returnJobs,
} from '@pgq/core'
import pg from 'pg'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { interleave, interleavings, type Script } from '../interleave.js'
import type { TestQueue } from '../test-queue.js'

/** What a worker says of its job, while it is taken for dead, in every order of the two transactions. */
export const rescueVsSettle: BatteryTest = {
  number: 11,
  name: 'rescue-vs-settle',
  mutants: [
    {
      name: 'the rescue gives settled jobs back as well',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'job.ordinal <> all (lease.done || lease.finished)',
          replace: 'job.ordinal <> all (lease.finished)',
        },
      ],
    },
    {
      name: 'an acknowledgement does not look whether the lease is there',
      patches: [
        {
          file: 'packages/core/src/settle.ts',
          find: 'select number from finished union all select number from partial',
          replace:
            "select number from finished union all select unnest(${param('finished')}::bigint[]) union all select number from partial",
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const [worker, rescuer] = await openClients(queue, context.onEnd)
    const problems: string[] = []
    let cases = 0
    for (const [name, settle] of Object.entries(settlements)) {
      for (const order of interleavings(3, 3)) {
        const problem = await tryOrder(queue, [worker, rescuer], settle, order).catch((error) => `${error.message}.`)
        if (problem) problems.push(`${name} in order ${order.join('')}: ${problem}`)
        cases += 1
      }
    }
    expectNone(problems)
    return `${cases} interleavings of ${Object.keys(settlements).length} settlements: each job in one place, as was answered`
  },
}

/** Two connections, and one to watch them. */
export async function openClients(
  queue: TestQueue,
  onEnd: (work: () => unknown) => void,
): Promise<[pg.Client, pg.Client]> {
  const clients = [new pg.Client(queue.url), new pg.Client(queue.url)] as [pg.Client, pg.Client]
  for (const client of clients) {
    await client.connect()
    client.on('error', () => {})
    onEnd(() => client.end())
  }
  return clients
}

export const isBlockedOn = (queue: TestQueue) => (client: pg.Client) =>
  queue.value<boolean>('select cardinality(pg_blocking_pids($1)) > 0', [(client as any).processID])

type Place = 'nowhere' | 'waiting' | 'dead'

interface Settling {
  /** Says it, and answers whether that counted. */
  say(client: pg.Client, workerId: number): Promise<boolean>
  /** Where the job is when it counted. */
  readonly place: Place
  readonly rollsBack?: true
}

const place = { number: 1, ordinal: 1 }
const settlements: Record<string, Settling> = {
  'whole lease': {
    say: async (client, workerId) =>
      (await acknowledge(client, 'pgq', { workerId, finished: [1], partial: [] })).has(1),
    place: 'nowhere',
  },
  'part of a lease': {
    say: async (client, workerId) =>
      (await acknowledge(client, 'pgq', { workerId, finished: [], partial: [{ number: 1, done: [1] }] })).has(1),
    place: 'nowhere',
  },
  retry: {
    say: async (client, workerId) =>
      (
        await returnJobs(client, 'pgq', {
          workerId,
          returns: [{ ...place, kind: 'requeue', attempt: 1, delayMs: 0 }],
        })
      ).has(1),
    place: 'waiting',
  },
  bury: {
    say: async (client, workerId) =>
      (await returnJobs(client, 'pgq', { workerId, returns: [{ ...place, kind: 'bury', reason: 'failed' }] })).has(1),
    place: 'dead',
  },
  finish: { say: finish, place: 'nowhere' },
  'finish, rolled back': { say: finish, place: 'waiting', rollsBack: true },
}

function finish(client: pg.Client, workerId: number): Promise<boolean> {
  return finishInTransaction(client, 'pgq', { ...place, workerId }, '1').then(
    () => true,
    (error) => {
      if (error instanceof LostLeaseError) return false
      throw error
    },
  )
}

async function tryOrder(
  queue: TestQueue,
  clients: readonly [pg.Client, pg.Client],
  settling: Settling,
  order: readonly number[],
): Promise<string | undefined> {
  const workerId = await silentWorkerWithLease(queue)
  let counted = false
  const settle: Script = [
    (client) => client.query('begin'),
    async (client) => {
      counted = await settling.say(client, workerId)
    },
    (client) => client.query(settling.rollsBack ? 'rollback' : 'commit'),
  ]
  const rescue: Script = [
    (client) => client.query('begin'),
    (client) => rescueLostWorkers(client, 'pgq', { workerId: 0, maxCrashes: 3 }),
    (client) => client.query('commit'),
  ]
  await interleave(clients, [settle, rescue], order, isBlockedOn(queue))
  // A rescue that met a locked row passes it over: the next one comes back to it.
  await rescueLostWorkers(queue.pool, 'pgq', { workerId: 0, maxCrashes: 3 })
  const expected = counted ? settling.place : 'waiting'
  const found = await queue.rows<{ state: string }>(`select state from pgq.job_states where args->>'n' = '1'`)
  const states = found.map(({ state }) => (state === 'dead' ? 'dead' : state === 'running' ? 'running' : 'waiting'))
  const said = counted ? 'counted' : 'came too late'
  return states.join() === (expected === 'nowhere' ? '' : expected)
    ? undefined
    : `the worker's word ${said}, and the job is ${states.join(' and ') || 'nowhere'}.`
}

/** A worker that has not beaten for an hour, with a lease of two jobs, and nothing else in the queue. */
export async function silentWorkerWithLease({ pool }: TestQueue, jobs = 2): Promise<number> {
  await pool.query('truncate pgq.jobs, pgq.leases, pgq.finished_jobs, pgq.dead_jobs, pgq.workers cascade')
  await pool.query(
    `insert into pgq.jobs (task, args) select 'plain', json_build_object('n', n) from generate_series(1, $1) as n`,
    [jobs],
  )
  const workerId = await registerWorker(pool, 'pgq', { hostname: '', pid: 0, queues: [], tasks: [], locks: false })
  await claimIntoLease(pool, 'pgq', { ...claimOf(workerId), number: 1 })
  await pool.query(`update pgq.workers set beat_at = now() - interval '1 hour'`)
  return workerId
}

/** Everything in the default queue. */
export const claimOf = (workerId: number) => ({
  workerId,
  queues: ['default'],
  after: [String(-(2n ** 63n))],
  upto: [String(2n ** 63n - 1n)],
  tasks: ['plain'],
  limit: 100,
  maxBytes: 1_000_000,
})
