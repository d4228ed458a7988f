import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expect } from '../battery-test.js'
import { startCrew } from '../crew.js'
import type { HistoryEvent } from '../history.js'
import { until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

/** One statement in four on the queue's tables fails, for reasons that pass; then all wait behind a lock until they are given up. */
export const errorStorm: BatteryTest = {
  number: 26,
  name: 'error-storm',
  mutants: [
    {
      name: 'a settlement that the database refused is given up',
      patches: [
        {
          file: 'packages/worker/src/acknowledger.ts',
          find: 'doubtful ||= breaksConnection(error)',
          replace: 'if (!breaksConnection(error)) return; doubtful = true',
        },
      ],
    },
    {
      name: 'a lane whose claim failed ends',
      patches: [
        {
          file: 'packages/worker/src/lane.ts',
          find: "if (found === 'failed') continue",
          replace: "if (found === 'failed') return",
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    await queue.pool.query(STORM)
    const tasks = ['plain', 'finish', 'transactional', 'once'] as const
    const options = { concurrency: 5, maxCrashes: 1_000 }
    const crew = await startCrew(context, 3, () => context.worker(queue, { tasks, options }), {
      replaceAll: false,
    })
    let [next, refused] = [0, 0]
    const produce = async () => {
      const task = random.pick(tasks)
      await queue.enqueue(task, works(20, random, 20, next)).catch(() => {
        refused += 1
      })
      next += 20
    }
    const rounds = long ? 10 : 1
    for (let round = 0; round < rounds; round++) {
      await setStorm(queue, true)
      for (const end = performance.now() + (long ? 60_000 : 4_000); performance.now() < end; ) {
        await produce()
        await sleep(random.between(10, 50))
      }
      await setStorm(queue, false)
      // Longer than a statement may wait for a lock (5 s), or take in all (9 s).
      for (let times = 0; times < 10; times++) await produce()
      await standStill(queue, long ? 25_000 : 4_000)
      await until('everything is done', async () => (await queue.waiting()) === 0)
    }
    const account = await verify(context, queue)
    // Their claims removed them from the queue; they may still wait in a worker, and come to run there.
    const unrun = () => unrunOnce(queue.readHistory()).length
    await until('every at-most-once job begins, as no worker was lost', () => unrun() === 0, 10_000, 100)
    expect(
      crew.members.every(({ isRunning }) => isRunning),
      'A worker ended.',
    )
    const failed = await queue.value<number>('select last_value::integer from storm.failures')
    expect(failed > 50, `Only ${failed} statements failed.`)
    return (
      `${failed} statements failed with 40001, 40P01 or 57014, ${refused} of them enqueues; ${account.jobs} acknowledged jobs ` +
      `in ${account.runs} runs: none lost, effects once, no worker ended`
    )
  },
}

// A sequence is not undone by the failure that it counts.
const STORM = `
  create schema storm;
  create sequence storm.failures;
  create table storm.state (blows boolean);
  insert into storm.state values (false);
  create function storm.fail() returns trigger language plpgsql as $$
    begin
      if random() < 0.25 and (select blows from storm.state) then
        perform nextval('storm.failures');
        raise exception 'storm' using errcode = (array['40001', '40P01', '57014'])[1 + floor(random() * 3)];
      end if;
      return null;
    end $$;
  create trigger storm before insert or update or delete on pgq.jobs for each statement execute function storm.fail();
  create trigger storm before insert or update or delete on pgq.leases for each statement execute function storm.fail();
  create trigger storm before insert or update or delete on pgq.workers for each statement execute function storm.fail()`

/** At-most-once jobs that were acknowledged and never began. */
function unrunOnce(history: readonly HistoryEvent[]): number[] {
  const numbers = (kind: string) =>
    history.flatMap((event) => (event.kind === kind && 'n' in event && event.task === 'once' ? [event.n] : []))
  const begun = new Set(numbers('started'))
  return numbers('acknowledged').filter((n) => !begun.has(n))
}

const setStorm = (queue: TestQueue, blows: boolean) => queue.pool.query('update storm.state set blows = $1', [blows])

/** Nobody can read or write a job meanwhile. */
async function standStill(queue: TestQueue, ms: number): Promise<void> {
  const client = await queue.pool.connect()
  try {
    await client.query('begin')
    await client.query('lock table pgq.jobs, pgq.leases in access exclusive mode')
    await sleep(ms)
    await client.query('rollback')
  } finally {
    client.release()
  }
}
