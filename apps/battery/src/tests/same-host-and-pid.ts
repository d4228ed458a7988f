import { claimIntoLease, registerWorker, rescueLostWorkers } from '@pgq/core'
import pg from 'pg'
import { type BatteryTest, expect } from '../battery-test.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { claimOf } from './rescue-vs-settle.js'

/** Another worker with the same hostname and process id, as in every container; and ids that no crash gives out twice. */
export const sameHostAndPid: BatteryTest = {
  number: 14,
  name: 'same-host-and-pid',
  mutants: [
    {
      name: 'a registration does not wait for the disk',
      patches: [
        {
          file: 'packages/core/src/workers.ts',
          find: "set_config('synchronous_commit', 'on', true)",
          replace: "set_config('synchronous_commit', 'off', true)",
        },
      ],
    },
  ],
  async run(context) {
    await livesBesideItsPredecessor(context)
    const crashes = context.long ? 30 : 6
    const server = await context.server()
    const queue = await context.queue(server)
    const ids: number[] = []
    for (let crash = 0; crash < crashes; crash++) {
      const worker = context.worker(queue, { tasks: ['plain'] })
      ids.push((await worker.heard('ready')).id)
      await server.restart('kill')
      worker.kill('SIGKILL')
      await worker.ended
    }
    expect(new Set(ids).size === ids.length, `An id was given twice: ${ids.join(', ')}.`)
    return `the jobs of the dead one come back, those of its living namesake stay; ${crashes} crashes right after a registration, ids ${ids.join(' ')}`
  },
}

async function livesBesideItsPredecessor(context: TestContext): Promise<void> {
  const queue = await context.queue()
  const label = { hostname: 'container', pid: 1, queues: ['default'], tasks: ['plain'] }
  const claim = async (n: number) => {
    const client = new pg.Client(queue.url)
    await client.connect()
    await client.query(`insert into pgq.jobs (task, args) values ('plain', json_build_object('n', $1::integer))`, [n])
    await claimIntoLease(client, 'pgq', { ...claimOf(await registerWorker(client, 'pgq', label)), number: 1 })
    return client
  }
  const dead = await claim(1)
  await dead.end()
  const living = await claim(2)
  context.onEnd(() => living.end())
  // The session ends a moment after its socket.
  await until('a worker is found lost', async () => (await rescue(queue)).workers.length > 0)
  const states = await queue.rows(`select args->>'n' as n, state from pgq.job_states order by 1`)
  const found = states.map(({ n, state }) => `${n} ${state}`).join(', ')
  expect(found === '1 ready, 2 running', `After the rescue: ${found}.`)
}

const rescue = (queue: TestQueue) => rescueLostWorkers(queue.pool, 'pgq', { workerId: 0, maxCrashes: 3 })
