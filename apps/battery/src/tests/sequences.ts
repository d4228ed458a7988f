import { isDeepStrictEqual } from 'node:util'
import {
  acknowledge,
  claimIntoLease,
  defineTask,
  finishInTransaction,
  readLease,
  registerWorker,
  rescueLostWorkers,
  returnJobs,
  typed,
} from '@pgq/core'
import pg from 'pg'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { ownWorker } from '../own-worker.js'
import { type TestContext, until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'
import { claimOf } from './rescue-vs-settle.js'

const INTEGER = 2 ** 31
/** Beyond this a JavaScript number cannot tell one id from the next. */
const SAFE = 2n ** 53n
const POSITIONS = 2 ** 47

/** Ids, positions and lease numbers near 2^31, and beyond what an integer or a JavaScript number holds. */
export const sequences: BatteryTest = {
  number: 30,
  name: 'sequences',
  mutants: [
    {
      name: 'job ids are read as numbers',
      patches: [
        {
          file: 'packages/core/src/batch.ts',
          find: "row.ids.slice(1, -1).split(',')",
          replace: "row.ids.slice(1, -1).split(',').map((id) => String(Number(id)))",
        },
      ],
    },
  ],
  async run(context) {
    const jobs = context.long ? 5_000 : 200
    const places: string[] = []
    for (const [name, ids, positions, workers] of [
      ['2^31', INTEGER, INTEGER, INTEGER - 40],
      ['2^53 (ids), 2^47 (positions)', SAFE, POSITIONS - 20 * jobs, INTEGER - 10],
      ['2^63 (ids)', 2n ** 63n - BigInt(jobs * 8), POSITIONS / 2, INTEGER - 10],
    ] as const) {
      places.push(`${name}: ${await work(context, jobs, { ids, positions, workers })}`)
    }
    const numbers = await leaseNumbers(context)
    return `${places.join('; ')}; lease numbers up to ${numbers} claimed, settled, finished, returned and rescued`
  },
}

/** Puts the sequences there, and runs jobs of all modes across the place; some are killed, all ids must stay apart. */
async function work(
  context: TestContext,
  jobs: number,
  { ids, positions, workers }: { ids: number | bigint; positions: number; workers: number },
): Promise<string> {
  const queue = await context.queue()
  const restart = (sequence: string, value: number | bigint) =>
    queue.pool.query(`alter sequence ${sequence} restart with ${BigInt(value) - 20n}`)
  await restart(await sequenceOf(queue, 'jobs'), ids)
  await restart('pgq.job_positions', positions)
  await restart(await sequenceOf(queue, 'workers'), workers)
  const tasks = ['plain', 'finish', 'transactional', 'once'] as const
  for (const task of tasks) await queue.enqueue(task, works(jobs, context.random, 5))
  const start = () => context.worker(queue, { tasks: [...tasks], options: { concurrency: 4, maxCrashes: 1_000 } })
  const crew = [start(), start()]
  const started = await Promise.all(crew.map((worker) => worker.heard('ready')))
  crew[0]!.kill('SIGKILL')
  const { runs } = await verify(context, queue, { noOverlap: true })
  crew[1]!.kill('SIGTERM')
  await crew[1]!.ended
  const order = await inOrder(context, queue)
  expectNone([!order && `Jobs at position ${positions} did not run in their order.`])
  await keepIds(context, queue)
  return `${jobs * tasks.length} jobs in ${runs} runs, workers ${started.map(({ id }) => id).join(' and ')}`
}

/** Jobs that are put back by their ids keep them. */
async function keepIds(context: TestContext, queue: TestQueue): Promise<void> {
  const ids = new Map<string, number>()
  const task = defineTask('keeps-its-id', { mode: 'transactional', args: typed<null>(), retry: { minDelayMs: 0 } })
  const handler = task.handle((_, job) => {
    ids.set(job.id, job.attempt)
    if (job.attempt === 1) throw new Error('again')
  })
  const results = await task.enqueueMany(
    queue.pool,
    Array.from({ length: 20 }, () => ({ args: null })),
  )
  const worker = await ownWorker(context, queue, [handler])
  await until('every job is done', async () => (await queue.waiting()) === 0)
  await worker.stop()
  const [sent, ran] = [results.map(({ id }) => id).sort(), [...ids.keys()].sort()]
  expectNone([
    !isDeepStrictEqual(sent, ran) && `Jobs ${sent[0]} to ${sent.at(-1)} ran as ${ran.join(', ')}.`,
    [...ids.values()].some((attempt) => attempt !== 2) && 'A job did not run twice.',
  ])
}

const sequenceOf = (queue: TestQueue, table: string): Promise<string> =>
  queue.value(`select pg_get_serial_sequence('pgq.${table}', 'id')`)

/** One at a time, in order of priority and then of arrival. */
async function inOrder(context: TestContext, queue: TestQueue): Promise<boolean> {
  await queue.pool.query('truncate effects')
  for (const priority of [0, 10, -10]) {
    const first = (10 - priority) * 10
    await queue.enqueue(
      'plain',
      Array.from({ length: 5 }, (_, n) => ({ n: 100_000 + first + n })),
      { priority, delayMs: 0 },
    )
  }
  const one = context.worker(queue, { tasks: ['plain'], options: { concurrency: 1 } })
  await one.heard('run', 15)
  const ran = one.told.flatMap(([event, { n }]) => (event === 'run' ? [n as number] : []))
  return ran.every((n, index) => index === 0 || n > ran[index - 1]!)
}

async function leaseNumbers(context: TestContext): Promise<string> {
  const queue = await context.queue()
  const { pool } = queue
  const label = { hostname: 'here', pid: 1, queues: ['default'], tasks: ['plain'] }
  const client = new pg.Client(queue.url)
  context.onEnd(() => client.end())
  await client.connect()
  const workerId = await registerWorker(client, 'pgq', label)
  const problems: string[] = []
  const numbers = [INTEGER - 1, INTEGER, 2 ** 40, Number.MAX_SAFE_INTEGER]
  for (const number of numbers) {
    await pool.query(`insert into pgq.jobs (task) select 'plain' from generate_series(1, 5)`)
    const claim = { ...claimOf(workerId), number }
    const claimed = await claimIntoLease(client, 'pgq', claim)
    const again = await readLease(client, 'pgq', claim)
    await finishInTransaction(client, 'pgq', { workerId, number, ordinal: 1 }, claimed[0]!.id)
    const part = await acknowledge(client, 'pgq', { workerId, finished: [], partial: [{ number, done: [2] }] })
    const returns = [{ number, ordinal: 3, kind: 'release' as const }]
    const back = await returnJobs(client, 'pgq', { workerId, returns })
    problems.push(
      ...[claimed.length, again.length]
        .filter((count) => count !== 5)
        .map((count) => `${count} of 5 in lease ${number}.`),
      ...[part, back].filter((set) => !set.has(number)).map(() => `Lease ${number} was not found again.`),
    )
    const whole = await acknowledge(client, 'pgq', { workerId, finished: [number], partial: [] })
    if (!whole.has(number)) problems.push(`Lease ${number} could not be acknowledged.`)
    await pool.query('delete from pgq.jobs')
  }
  await pool.query(`insert into pgq.jobs (task) values ('plain')`)
  await claimIntoLease(client, 'pgq', { ...claimOf(workerId), number: numbers.at(-1)! })
  await client.end()
  const rescue = { workerId: 0, maxCrashes: 3 }
  for (let tries = 0; tries < 50 && (await queue.value('select count(*)::integer from pgq.jobs')) === 0; tries++) {
    await rescueLostWorkers(pool, 'pgq', rescue)
  }
  const waiting = await queue.value<number>('select count(*)::integer from pgq.jobs')
  expectNone([...problems, waiting !== 1 && 'The rescue did not find the lease with the highest number.'])
  return String(numbers.at(-1))
}
