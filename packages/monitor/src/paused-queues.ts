import { type Executor, sql } from '@pgq/core'
import { checkOptions, dateOf, defineQuestion, type EpochMs, epochMs, type MonitorOptions } from './question.js'

/** A queue that no worker takes jobs from until it is resumed. */
export interface PausedQueue {
  readonly queue: string
  readonly pausedAt: Date
}

/** Lists the paused queues, ordered by name. */
export async function listPausedQueues(executor: Executor, options: MonitorOptions = {}): Promise<PausedQueue[]> {
  checkOptions('listPausedQueues', options)
  const rows = await askPausedQueues(executor, options, {})
  return rows.map(({ queue, pausedAt }) => ({ queue, pausedAt: dateOf(pausedAt) }))
}

const askPausedQueues = defineQuestion<object, { queue: string; pausedAt: EpochMs }>(
  'list_paused_queues',
  ({ table }) => sql`
    select name as queue, ${epochMs(sql`paused_at`)} as "pausedAt"
    from ${table('queues')} where paused_at is not null
    order by name`,
)
