import { readFileSync } from 'node:fs'
import { hangDoorbell } from '@pgq/core'
import { testDatabase } from '@pgq/test-db'
import { expect, test } from 'vitest'
import { everyState } from './every-state.js'
import { openQueue } from './queue.js'

const database = await testDatabase()
const queue = openQueue(database)

/** Each SQL snippet under the sentence before it, as README.md has them. */
const snippets = new Map(
  [...readFileSync(new URL('../README.md', import.meta.url), 'utf8').matchAll(/([^\n]*)\n\n```sql\n(.*?)```/gs)].map(
    ([, sentence, sql]) => [sentence!.split(/[?:]/)[0]!, sql!],
  ),
)

test('every snippet says what its sentence promises', async () => {
  const { ids, workers, held, heldToo, end } = await everyState(queue)
  const idle = await queue.worker(['other'])
  await hangDoorbell(queue.pool, 'pgq', { workerId: idle, channel: 'bell', queues: ['other'] })

  const answers: Record<string, Record<string, unknown>[]> = {
    'How many jobs are there, by queue': [
      { queue: 'default', jobs: '7' },
      { queue: 'other', jobs: '1' },
    ],
    'How many run now, by queue': [{ queue: 'default', running: '5' }],
    'Everything, by queue, task and state, with the oldest of each': [
      { queue: 'default', task: 'bill', state: 'running', jobs: '1' },
      { queue: 'default', task: 'mail', state: 'dead', jobs: '1' },
      { queue: 'default', task: 'mail', state: 'ready', jobs: '2' },
      { queue: 'default', task: 'mail', state: 'running', jobs: '4' },
      { queue: 'default', task: 'mail', state: 'scheduled', jobs: '2' },
      { queue: 'other', task: 'mail', state: 'ready', jobs: '1' },
    ].map((row) => ({ ...row, oldest: expect.any(Date) })),
    'For how long have ready jobs been waiting': [
      { queue: 'default', ready: '2', oldest: expect.anything() },
      { queue: 'other', ready: '1', oldest: expect.anything() },
    ],
    'What runs in leases, where, and for how long': [ids.leased, ids.bill, ids.leasedToo]
      .sort((a, b) => (a === ids.leased ? -1 : b === ids.leased ? 1 : Number(a) - Number(b)))
      .map((id) => ({
        ...{ id, task: id === ids.bill ? 'bill' : 'mail', attempt: 1, worker_id: workers.worker, hostname: 'host' },
        ...{ pid: 1, running_for: expect.anything() },
      })),
    'Why did the last jobs die': [
      { id: ids.buried, task: 'mail', attempt: 1, reason: 'failed', died_at: expect.any(Date), error: 'for good' },
    ],
    'Who works, and who has nothing to do': [workers.worker, workers.holder, workers.otherHolder, idle].map(
      (id, n) => ({
        ...{ id, hostname: 'host', pid: n + 1, queues: id === idle ? ['other'] : ['default'] },
        ...{ silent_for: expect.anything(), idle: id === idle },
      }),
    ),
    [installing]: [],
    'How many transactional jobs run now, by queue': [{ queue: 'default', running: '2' }],
    'Which, and in which backend': [
      { id: ids.held, backend: held.backendPid },
      { id: ids.heldToo, backend: heldToo.backendPid },
    ].map((row) => ({ ...row, queue: 'default', task: 'mail', running_for: expect.anything() })),
  }
  expect([...snippets.keys()]).toEqual(Object.keys(answers))
  for (const [sentence, sql] of snippets)
    expect([sentence, (await queue.pool.query(sql)).rows]).toEqual([sentence, answers[sentence]])
  await end()
})

const installing = 'shows such a row with the mode `Update` (`For Update` is that of a `select ... for update`)'
