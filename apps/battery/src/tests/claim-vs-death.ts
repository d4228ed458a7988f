import { claimIntoLease, removeWorker, rescueLostWorkers } from '@pgq/core'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { interleave, interleavings, type Script } from '../interleave.js'
import type { TestQueue } from '../test-queue.js'
import { claimOf, isBlockedOn, openClients, silentWorkerWithLease } from './rescue-vs-settle.js'

/** A worker claims while it is taken for dead, or while it leaves: no job may end up with nobody. */
export const claimVsDeath: BatteryTest = {
  number: 12,
  name: 'claim-vs-death',
  mutants: [
    {
      name: 'the claim does not hold its worker',
      patches: [{ file: 'packages/core/src/claim.ts', find: ' for key share) as claimer', replace: ') as claimer' }],
    },
    {
      name: 'leases of nobody are not swept',
      patches: [
        {
          file: 'packages/core/src/rescue.ts',
          find: 'or (held.worker_id, held.number) in (select worker_id, number from orphan)',
          replace: '',
        },
      ],
    },
  ],
  async run(context) {
    const queue = await context.queue()
    const clients = await openClients(queue, context.onEnd)
    const problems: string[] = []
    let [cases, orphans] = [0, 0]
    for (const end of ['rescue', 'removal'] as const) {
      for (const order of interleavings(3, 3)) {
        const workerId = await silentWorkerWithLease(queue, 0)
        await queue.pool.query(`insert into pgq.jobs (task) values ('plain'), ('plain')`)
        const claim: Script = [
          (client) => client.query('begin'),
          (client) => claimIntoLease(client, 'pgq', { ...claimOf(workerId), number: 2 }),
          (client) => client.query('commit'),
        ]
        const death: Script = [
          (client) => client.query('begin'),
          (client) =>
            end === 'rescue' ? rescueLostWorkers(client, 'pgq', rescuer) : removeWorker(client, 'pgq', { workerId }),
          (client) => client.query('commit'),
        ]
        await interleave(clients, [claim, death], order, isBlockedOn(queue))
        cases += 1
        const orphaned = await queue.value<number>(ORPHANS)
        orphans += orphaned
        if (orphaned > 0 && end === 'rescue') problems.push(`${end} in order ${order.join('')}: a lease of nobody.`)
        problems.push(...(await missing(queue, `${end} in order ${order.join('')}`)))
      }
    }
    expectNone(problems)
    return `${cases} interleavings; ${orphans} leases without a worker, all swept; no job without a place`
  },
}

const rescuer = { workerId: 0, maxCrashes: 3 }

const ORPHANS = `select count(*)::integer from pgq.leases where worker_id not in (select id from pgq.workers)`

/** After the rescues to come, both jobs must wait again. */
async function missing(queue: TestQueue, where: string): Promise<string[]> {
  for (let times = 0; times < 2; times++) await rescueLostWorkers(queue.pool, 'pgq', rescuer)
  const waiting = await queue.value<number>('select count(*)::integer from pgq.jobs')
  return waiting === 2 ? [] : [`${where}: ${waiting} of 2 jobs wait after the rescue.`]
}
