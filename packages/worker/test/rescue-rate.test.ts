import { afterEach, expect, test } from 'vitest'
import { gate, numbered, numbers, queue, until } from './queue.js'

const db = await queue()
afterEach(() => db.pool.query('drop function count_beat cascade; drop sequence beats'))

// Mutant: each worker takes its turns as if there were one other: 28 a second with ten.
test.each([
  [2, 8],
  [10, 5],
])(
  '%d busy workers look after each other, and all together at most %d times a second',
  async (count, most) => {
    await db.pool.query(`create sequence beats; create function count_beat() returns trigger language plpgsql as
    $$ begin perform nextval('public.beats'); return new; end $$`)
    await db.pool.query(
      'create trigger count_beat after update on pgq.workers for each row execute function count_beat()',
    )
    const release = gate()
    const task = numbered()
    for (let n = 0; n < count; n++) await db.worker([task.handle(() => release.opened)], { concurrency: 1 })
    await task.enqueueMany(db.pool, numbers(count))
    const rescues = (times: number) => until(() => db.value('select last_value >= $1 from beats', [times]))
    await until(() => db.value('select count(distinct worker_id) = $1 from pgq.leases', [count]))
    // Those that were rung when the others began are over by then.
    const first = count + (await db.value<number>('select last_value::integer from beats'))
    await rescues(first)
    const from = performance.now()
    await rescues(first + 10)
    const perSecond = 10_000 / (performance.now() - from)
    console.log(`${count} busy workers: ${perSecond.toFixed(1)} rescues a second`)
    expect(perSecond).toBeLessThan(most)
    release.open()
  },
  60_000,
)
