import { setTimeout as sleep } from 'node:timers/promises'
import { defineTask, pauseSchedule } from '@pgq/core'
import { type BatteryTest, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import { until } from '../test-context.js'
import type { TestQueue } from '../test-queue.js'

const EVERY_MS = 1_000
const SCHEDULES = 12

/** Many workers see to the same schedules, and are killed, or lose their sessions, while they do: each slot has one job. */
export const duplicateSchedulers: BatteryTest = {
  number: 34,
  name: 'duplicate-schedulers',
  mutants: [
    {
      name: 'a slot that another worker has seen to has a job again',
      patches: [
        {
          file: 'packages/core/src/fire-schedules.ts',
          find: "and next_at = ${param('seen')}::text::timestamptz and paused_at is null",
          replace: "and ${param('seen')}::text is not null and paused_at is null",
        },
      ],
    },
    {
      name: 'an interval counts on from when its slot was seen',
      patches: [
        {
          file: 'packages/core/src/slots.ts',
          find: 'due + (Math.floor((now - due) / timing.everyMs) + 1) * timing.everyMs',
          replace: 'now + timing.everyMs',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    // What each job was when it came first: one that a rescue puts back has a crash.
    await queue.pool.query(`
      create table came (id bigint, schedule text, slot timestamptz);
      create function note_job() returns trigger language plpgsql as $$
      begin
        insert into came values (new.id, new.meta ->> 'schedule', (new.meta ->> 'slot')::timestamptz);
        return null;
      end $$;
      create trigger note_job after insert on pgq.jobs for each row when (new.crash_count = 0) execute function note_job()`)
    const names = Array.from({ length: SCHEDULES }, (_, n) => `schedule ${n}`)
    const task = defineTask('plain')
    for (const [n, name] of names.entries()) {
      await task.schedule(queue.pool, { n }, { name, everyMs: EVERY_MS, catchUp: 'all' })
    }
    const start = () => context.worker(queue, { tasks: ['plain'], options: { maxCrashes: 1_000 } })
    const crew = await startCrew(context, 4, start)
    const rounds = long ? 600 : 12
    let [kills, ended] = [0, 0]
    for (let round = 0; round < rounds; round++) {
      await sleep(random.between(200, 900))
      if (random.between(0, 2) < 1) {
        ended += await endSessions(queue)
      } else {
        ;(await crew.pick()).kill('SIGKILL')
        kills += 1
      }
    }
    for (const name of names) await pauseSchedule(queue.pool, name)
    await until('every job is done', async () => (await queue.waiting()) === 0, 60_000)
    const slots = await queue.rows<{ schedule: string; jobs: number; slots: number; of: number }>(SLOTS)
    expectNone([
      slots.length !== SCHEDULES && `${slots.length} of ${SCHEDULES} schedules had jobs.`,
      ...slots.map(
        ({ schedule, jobs, slots, of }) =>
          (jobs !== slots || slots !== of) && `${schedule}: ${jobs} jobs for ${slots} slots of ${of}.`,
      ),
    ])
    const jobs = slots.reduce((sum, one) => sum + one.jobs, 0)
    return `${kills} kills and ${ended} sessions ended among 4 workers: ${jobs} slots of ${SCHEDULES} schedules, each with one job`
  },
}

const SLOTS = `
  select schedule, count(distinct id)::integer as jobs, count(distinct slot)::integer as slots,
    (extract(epoch from max(slot) - min(slot)) * 1000 / ${EVERY_MS} + 1)::double precision as of
  from came
  group by schedule`

const endSessions = async (queue: TestQueue): Promise<number> =>
  queue.value(
    `select count(pg_terminate_backend(pid))::integer from pg_stat_activity
     where datname = current_database() and application_name like 'pgq%'`,
  )
