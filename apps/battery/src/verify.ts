import { setTimeout as sleep } from 'node:timers/promises'
import { expectNone } from './battery-test.js'
import { checkHistory, countOverlaps, type Expectations } from './check-history.js'
import type { HistoryEvent } from './history.js'
import { type TestContext, until } from './test-context.js'
import type { TestQueue } from './test-queue.js'

export interface Account {
  readonly jobs: number
  readonly runs: number
  /** Runs of jobs that a rescue had taken from a worker. */
  readonly crashed: number
  /** See countOverlaps. */
  readonly overlaps: number
  readonly history: readonly HistoryEvent[]
}

/** Waits until every job is done, holds the history against the promises, and counts. */
export async function verify(
  { long }: Pick<TestContext, 'long'>,
  queue: TestQueue,
  expectations: Expectations = {},
): Promise<Account> {
  const stuckMs = long ? 900_000 : 60_000
  const left = await drain(queue, stuckMs)
  const history = queue.readHistory()
  await until('no lease is left', async () => (await countLeases(queue)) === 0, 5_000).catch(() => {})
  const leases = await countLeases(queue)
  expectNone([
    left > 0 && `${left} jobs were left, and none of them ended in ${stuckMs} ms.`,
    ...checkHistory(history, await queue.finalState(), expectations),
    leases > 0 && left === 0 && `${leases} empty leases were left.`,
  ])
  const count = (wanted: string) => history.filter(({ kind }) => kind === wanted).length
  const crashed = history.filter((event) => event.kind === 'started' && event.crashes > 0).length
  return { jobs: count('acknowledged'), runs: count('started'), crashed, overlaps: countOverlaps(history), history }
}

/** Waits until no job is left, or until none has ended in stuckMs: how long all of them may take is up to the machine. Answers how many are left. */
async function drain(queue: TestQueue, stuckMs: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY
  for (let deadline = 0; ; await sleep(100)) {
    const left = await queue.waiting()
    if (left < least) deadline = Date.now() + stuckMs
    least = Math.min(least, left)
    if (left === 0 || Date.now() > deadline) return left
  }
}

const countLeases = (queue: TestQueue): Promise<number> => queue.value('select count(*)::integer from pgq.leases')
