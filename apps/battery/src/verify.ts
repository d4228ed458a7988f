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
  const ms = long ? 900_000 : 60_000
  await until('every job is done', async () => (await queue.waiting()) === 0, ms, 100).catch(() => {})
  const left = await queue.waiting()
  const history = queue.readHistory()
  await until('no lease is left', async () => (await countLeases(queue)) === 0, 5_000).catch(() => {})
  const leases = await countLeases(queue)
  expectNone([
    left > 0 && `${left} jobs were still there after ${ms} ms.`,
    ...checkHistory(history, await queue.finalState(), expectations),
    leases > 0 && left === 0 && `${leases} empty leases were left.`,
  ])
  const count = (wanted: string) => history.filter(({ kind }) => kind === wanted).length
  const crashed = history.filter((event) => event.kind === 'started' && event.crashes > 0).length
  return { jobs: count('acknowledged'), runs: count('started'), crashed, overlaps: countOverlaps(history), history }
}

const countLeases = (queue: TestQueue): Promise<number> => queue.value('select count(*)::integer from pgq.leases')
