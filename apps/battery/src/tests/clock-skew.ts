import { existsSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { type BatteryTest, expectNone, Skipped } from '../battery-test.js'
import { now } from '../history.js'
import { percentile } from '../percentile.js'
import type { TestContext } from '../test-context.js'
import { verify } from '../verify.js'
import { works } from '../works.js'

const LIBRARY = ['x86_64', 'aarch64']
  .map((arch) => `/usr/lib/${arch}-linux-gnu/faketime/libfaketime.so.1`)
  .find(existsSync)
const DELAY_MS = 1_500
const LEASE_MS = 2_000

/** The clocks of the workers' machines are off by an hour, either way: delays, retries and leases go by the database's. */
export const clockSkew: BatteryTest = {
  number: 35,
  name: 'clock-skew',
  waits: true,
  mutants: [
    {
      name: 'a retry is due by the clock of the worker',
      patches: [
        {
          file: 'packages/core/src/settle.ts',
          find: 'returns: JSON.stringify(returns) })',
          replace:
            "returns: JSON.stringify(returns.map((settled) => ({ ...settled, ...('delayMs' in settled && { delayMs: settled.delayMs + Date.now() - Number(process.env.REAL_START_MS) - performance.now() }) }))) })",
        },
      ],
    },
  ],
  async run(context) {
    if (!LIBRARY) throw new Skipped("libfaketime is not installed (Debian's package faketime).")
    const figures: string[] = []
    for (const offset of ['-3600', '+3600']) figures.push(`${offset} s: ${await skewed(context, offset, LIBRARY)}`)
    return figures.join('; ')
  },
}

async function skewed(context: TestContext, offset: string, library: string): Promise<string> {
  const queue = await context.queue()
  // Not the monotonic clock, by which the history is written: only the time of day is off.
  const env = {
    LD_PRELOAD: library,
    FAKETIME: offset,
    FAKETIME_DONT_FAKE_MONOTONIC: '1',
    REAL_START_MS: String(Date.now()),
  }
  const options = { concurrency: 10, leaseMs: LEASE_MS }
  const start = (off: boolean) =>
    context.worker(queue, { tasks: ['plain', 'finish', 'transactional'], options }, off ? { env } : {})
  const crew = [start(true), start(true), start(false)]
  await Promise.all(crew.map((worker) => worker.heard('ready')))
  const jobs = context.long ? 2_000 : 40
  const enqueuedFrom = now()
  await queue.enqueue('plain', works(jobs, context.random, 10), { delayMs: DELAY_MS })
  const retried = Array.from({ length: jobs }, (_, n) => ({ n, ms: DELAY_MS, deed: 'retry-later' as const }))
  await queue.enqueue('finish', retried)
  // Longer than the lease, on workers that everybody must go on taking for living.
  await queue.enqueue(
    'transactional',
    works(6, context.random, 0).map(({ n }) => ({ n, ms: LEASE_MS * 2 })),
  )
  await sleep(DELAY_MS + 1_000)
  crew[0]!.kill('SIGKILL')
  const { history } = await verify(context, queue, { noOverlap: true })
  const starts = (task: string) =>
    history.flatMap((event) => (event.kind === 'started' && event.task === task ? [event] : []))
  // From before the call: on a busy machine its acknowledgement comes late, and a job that is in time would seem early.
  const delays = starts('plain').map(({ at }) => at - enqueuedFrom)
  const failures = new Map(history.flatMap((event) => (event.kind === 'failed' ? [[event.n, event.at]] : [])))
  const retries = starts('finish').flatMap(({ n, attempt, at }) => (attempt === 2 ? [at - failures.get(n)!] : []))
  const killed = history.flatMap((event) => (event.kind === 'killed' ? [event.victim] : []))[0]
  const long = starts('transactional')
  const taken = long.filter(
    ({ n, crashes, pid }) => pid !== killed && long.some((other) => other.n === n && other.crashes > crashes),
  )
  const early = [...delays, ...retries].filter((ms) => ms < DELAY_MS - 150).length
  const late = [...delays, ...retries].filter((ms) => ms > DELAY_MS + 3_000).length
  expectNone([
    early > 0 && `${early} jobs started before their time.`,
    late > 0 && `${late} jobs started more than 3 s after their time.`,
    retries.length < jobs && `Only ${retries.length} of ${jobs} jobs were retried.`,
    taken.length > 0 && `${taken.length} of 6 long jobs were taken from workers that lived.`,
  ])
  const [delay, retry] = [percentile(delays, 0.5), percentile(retries, 0.5)]
  return `delays of ${DELAY_MS} ms took ${delay.toFixed(0)} ms, retries after as much ${retry.toFixed(0)} ms, leases held`
}
