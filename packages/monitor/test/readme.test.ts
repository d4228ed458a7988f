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
  const { ids, workers } = await everyState(queue)
  const claim = (id: string) => (id === ids.leased ? 1 : id === ids.held ? 3 : 2)
  const idle = await queue.worker(['other'])
  await hangDoorbell(queue.pool, 'pgq', { workerId: idle, channel: 'bell', queues: ['other'] })

  const parked = { queue: 'keyed', key: 'account 7' }
  await queue.pool.query(
    `insert into pgq.jobs (queue, task, execute_at, meta) values ($1, 'mail', 'infinity', pgq.concurrency($2))`,
    Object.values(parked),
  )
  await queue.pool.query(
    'insert into pgq.concurrency_holds (queue, key, job_id, worker_id, number) values ($1, $2, $3, $4, 1)',
    [...Object.values(parked), ids.leased, workers.worker],
  )

  const answers: Record<string, Record<string, unknown>[]> = {
    'How many jobs are there, by queue': [
      { queue: 'default', jobs: '6' },
      { queue: 'other', jobs: '1' },
    ],
    'How many run now, by queue': [{ queue: 'default', running: '4' }],
    'Everything, by queue, task and state, with the oldest of each': [
      { queue: 'default', task: 'bill', state: 'running', jobs: '1' },
      { queue: 'default', task: 'mail', state: 'dead', jobs: '1' },
      { queue: 'default', task: 'mail', state: 'ready', jobs: '2' },
      { queue: 'default', task: 'mail', state: 'running', jobs: '3' },
      { queue: 'default', task: 'mail', state: 'scheduled', jobs: '2' },
      { queue: 'keyed', task: 'mail', state: 'parked', jobs: '1' },
      { queue: 'other', task: 'mail', state: 'ready', jobs: '1' },
    ].map((row) => ({ ...row, oldest: expect.any(Date) })),
    'For how long have ready jobs been waiting': [
      { queue: 'default', ready: '2', oldest: expect.anything() },
      { queue: 'other', ready: '1', oldest: expect.anything() },
    ],
    'What runs, where, and for how long': [ids.leased, ids.bill, ids.leasedToo, ids.held]
      .sort((a, b) => claim(a) - claim(b) || Number(a) - Number(b))
      .map((id) => ({
        ...{ id, task: id === ids.bill ? 'bill' : 'mail', attempt: 1, hostname: 'host' },
        ...(id === ids.held ? { worker_id: workers.holder, pid: 2 } : { worker_id: workers.worker, pid: 1 }),
        ...{ running_for: expect.anything() },
      })),
    'What waits behind which concurrency key, and what holds it': [
      { ...parked, parked: '1', oldest: expect.anything(), held_by: [ids.leased] },
    ],
    'Why did the last jobs die': [
      { id: ids.buried, task: 'mail', attempt: 1, reason: 'failed', died_at: expect.any(Date), error: 'for good' },
    ],
    'Who works, and who has nothing to do': [workers.worker, workers.holder, idle].map((id, n) => ({
      ...{ id, hostname: 'host', pid: n + 1, queues: id === idle ? ['other'] : ['default'] },
      ...{ silent_for: expect.anything(), idle: id === idle },
    })),
    'Which jobs do transactional workers hold': [
      { id: ids.held, queue: 'default', task: 'mail', worker_id: workers.holder, running_for: expect.anything() },
    ],
  }
  expect([...snippets.keys()]).toEqual(Object.keys(answers))
  for (const [sentence, sql] of snippets)
    expect([sentence, (await queue.pool.query(sql)).rows]).toEqual([sentence, answers[sentence]])
})
