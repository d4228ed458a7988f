import type { ClaimedJob, DeliveryModeName, JobEnd, Settlement } from '@pgq/core'
import type { Events, SettledRun, WorkerEvents } from './events.js'

type Batch = WorkerEvents['jobs.settled'] & { readonly runs: SettledRun[] }

/** Collects runs as they are settled, and tells of those of one task together, as jobs.settled. */
export class SettledRuns {
  #batches: Batch[] = []
  #telling: NodeJS.Immediate | undefined

  constructor(private readonly events: Events) {}

  add(
    mode: DeliveryModeName,
    { task, queue }: Pick<ClaimedJob, 'task' | 'queue'>,
    settlement: Settlement,
    waitMs: number,
    durationMs: number,
  ): void {
    if (!this.events.has('jobs.settled')) return
    this.#batchOf(mode, task, queue).runs.push({ end: endOf(settlement), waitMs, durationMs })
    // What one statement settled is added in one go.
    this.#telling ??= setImmediate(() => this.tell())
  }

  #batchOf(mode: DeliveryModeName, task: string, queue: string): Batch {
    for (const batch of this.#batches)
      if (batch.task === task && batch.queue === queue && batch.mode === mode) return batch
    const batch = { mode, task, queue, runs: [] }
    this.#batches.push(batch)
    return batch
  }

  tell(): void {
    clearImmediate(this.#telling)
    this.#telling = undefined
    const batches = this.#batches
    this.#batches = []
    for (const batch of batches) this.events.emit('jobs.settled', batch)
  }
}

/** A snooze is no failure: it has no error. */
function endOf(settlement: Settlement): JobEnd {
  if (settlement.kind === 'complete') return 'completed'
  if (settlement.kind === 'requeue') return settlement.error ? 'retried' : 'snoozed'
  return settlement.reason
}
