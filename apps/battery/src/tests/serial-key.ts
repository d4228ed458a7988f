import { setTimeout as sleep } from 'node:timers/promises'
import { enqueue, type SqlClient } from '@pgq/core'
import { type BatteryTest, expect, expectNone } from '../battery-test.js'
import { startCrew } from '../crew.js'
import type { HistoryEvent } from '../history.js'
import type { TaskName } from '../programs/worker.js'
import { sqlPatch } from '../sql-patch.js'
import { verify } from '../verify.js'

const TASKS: readonly TaskName[] = ['plain', 'finish', 'transactional']
const KEYS = 6
/** Half of the keys are serial, the others have room for this many. */
const MAX = 3
const CALLERS = 4
const LANES = 8

const keyOf = (n: number) => `key ${n % KEYS}`
const maxOf = (n: number) => (n % KEYS < KEYS / 2 ? 1 : MAX)

/** Jobs of few keys, of all modes, while workers are killed: no more of a key run than may, and none waits for ever. */
export const serialKey: BatteryTest = {
  number: 38,
  name: 'serial-key',
  mutants: [
    {
      name: 'what runs does not count',
      patches: [sqlPatch('lock_concurrency_key', 'return (select count(*)', 'return 0 * (select count(*)')],
    },
    {
      name: 'nobody sees to what a lost worker left parked',
      patches: [
        {
          file: 'packages/worker/src/caretaker.ts',
          find: 'const parkedMs = parked ?',
          replace: 'const parkedMs = parked && (this.#parkedFrom as unknown) === undefined ?',
        },
      ],
    },
  ],
  async run(context) {
    const { random, long } = context
    const queue = await context.queue()
    const options = { concurrency: { 'at-least-once': LANES, transactional: LANES }, maxCrashes: 1_000 }
    const crew = await startCrew(context, 3, () => context.worker(queue, { tasks: TASKS, options }))
    const kills = long ? 200 : 6
    let n = 0
    let isOver = false
    const callers = Array.from({ length: CALLERS }, async () => {
      // One of its own for each: calls on one executor would travel together, and be claimed together.
      const executor: SqlClient = { query: (sql, params) => queue.pool.query(sql, params) }
      while (!isOver) {
        const work = { n: n++, ms: random.between(0, 12) }
        const task = random.pick(TASKS)
        const concurrency = { key: keyOf(work.n), max: maxOf(work.n) }
        await enqueue(executor, task, work, { concurrency, priority: random.between(0, 2) })
        queue.note({ kind: 'acknowledged', task, n: work.n })
        await sleep(random.between(0, 30))
      }
    })
    for (let kill = 0; kill < kills; kill++) {
      await sleep(random.between(200, 600))
      ;(await crew.pick()).kill('SIGKILL')
    }
    isOver = true
    await Promise.all(callers)
    const { history, jobs, runs } = await verify(context, queue, { noOverlap: true })
    const { problems, most } = countByKey(history)
    expectNone(problems)
    expect(most === MAX, `Never more than ${most} of a key with room for ${MAX} ran at the same time.`)
    return `${kills} kills; ${jobs} jobs of ${KEYS} keys in ${runs} runs: never more of a key than may, ${most} at most, none lost`
  },
}

/** How many jobs of a key ran at the same time, at most, and where it was more than may. */
function countByKey(history: readonly HistoryEvent[]): { problems: string[]; most: number } {
  const running = new Map<string, Map<string, number>>()
  const killed = new Set<number>()
  const problems: string[] = []
  let most = 0
  for (const event of history) {
    if (event.kind === 'killed') {
      killed.add(event.victim)
      for (const jobs of running.values()) for (const [job, pid] of jobs) if (pid === event.victim) jobs.delete(job)
      continue
    }
    if (event.kind === 'acknowledged' || killed.has(event.pid)) continue
    const jobs = running.get(keyOf(event.n)) ?? new Map<string, number>()
    running.set(keyOf(event.n), jobs)
    if (event.kind === 'started') jobs.set(`${event.task} ${event.n}`, event.pid)
    else jobs.delete(`${event.task} ${event.n}`)
    most = Math.max(most, jobs.size)
    if (jobs.size > maxOf(event.n)) problems.push(`${[...jobs.keys()].join(' and ')} ran at the same time.`)
  }
  return { problems, most }
}
