import type { NewJob } from '@pgq/core'
import type { Entry } from './eager-job.js'

interface Holder {
  readonly entry: Entry
  readonly heldUntil: number
}

/** Who has which key, as the database would say: a key is taken while its job is, or for as long as its enqueue has said. */
export class Keys {
  readonly #holders = new Map<string, Holder>()

  take({ task, unique }: NewJob, entry: Entry, now: number): void {
    if (unique) this.#holders.set(nameOf(task, unique.key), { entry, heldUntil: now + (unique.forMs ?? 0) })
  }

  /** The job that stands in the way of this one, and whether it is to be replaced by it. */
  holder({ task, unique }: NewJob, now: number): { readonly entry: Entry; readonly replace: boolean } | undefined {
    const holder = unique && this.#holders.get(nameOf(task, unique.key))
    if (!holder) return undefined
    const { entry, heldUntil } = holder
    const { until = 'finished', ifWaiting = 'keep' } = unique
    const waits = entry.job.state === 'waiting' || entry.job.state === 'scheduled'
    const runs = entry.job.state === 'running' && until === 'finished' && ifWaiting === 'keep'
    return waits || runs || heldUntil > now ? { entry, replace: waits && ifWaiting === 'replace' } : undefined
  }

  /** These jobs have never been. */
  forget(entries: ReadonlySet<Entry>): void {
    for (const [name, { entry }] of this.#holders) if (entries.has(entry)) this.#holders.delete(name)
  }
}

const nameOf = (task: string, key: string): string => JSON.stringify([task, key])
