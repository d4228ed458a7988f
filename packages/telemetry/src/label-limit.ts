import type { Sample } from './scraped-metric.js'

/** What stands for every queue and task that is one too many. */
const OTHERS = '(others)'

/**
 * Keeps the number of a metric's series bounded, whatever names are enqueued. The first ones that come keep their place, so
 * that a series does not come and go; the rest are one, with `together` of their values.
 */
export class LabelLimit {
  readonly #known = new Set<string>()

  constructor(
    private readonly max: number,
    private readonly together: (...values: number[]) => number,
  ) {}

  apply(samples: readonly Sample[]): Sample[] {
    const kept: Sample[] = []
    const others = new Map<string, Sample>()
    for (const sample of samples) {
      if (this.#admits(sample)) kept.push(sample)
      else this.#add(others, sample)
    }
    return [...kept, ...others.values()]
  }

  #admits({ labels }: Sample): boolean {
    const key = JSON.stringify(labels)
    if (!this.#known.has(key) && this.#known.size < this.max) this.#known.add(key)
    return this.#known.has(key)
  }

  #add(others: Map<string, Sample>, { labels, value }: Sample): void {
    const { queue: _queue, task, ...rest } = labels
    const shared = { queue: OTHERS, ...(task !== undefined && { task: OTHERS }), ...rest }
    const key = JSON.stringify(shared)
    others.set(key, { labels: shared, value: this.together(others.get(key)?.value ?? 0, value) })
  }
}
