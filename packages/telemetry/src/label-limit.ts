import type { Sample } from './scraped-metric.js'

/** What stands for every queue and task that is one too many. */
const OTHERS = '(others)'

/** In scrapes: a quarter of an hour, as a rule. A queue that is empty for a moment keeps its place, one that was misspelt once does not. */
const FORGOTTEN_AFTER = 60

/**
 * Keeps the number of a metric's series bounded, whatever names are enqueued. The first ones that come keep their place, so
 * that a series does not come and go, until they have not been seen for many scrapes; the rest are one, with `together` of their values.
 */
export class LabelLimit {
  /** Each with the scrape that saw it last. */
  readonly #known = new Map<string, number>()
  #scrape = 0

  constructor(
    private readonly max: number,
    private readonly together: (...values: number[]) => number,
  ) {}

  apply(samples: readonly Sample[]): Sample[] {
    this.#scrape += 1
    this.#forget()
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
    const isAdmitted = this.#known.has(key) || this.#known.size < this.max
    if (isAdmitted) this.#known.set(key, this.#scrape)
    return isAdmitted
  }

  #forget(): void {
    for (const [key, seenAt] of this.#known) if (this.#scrape - seenAt > FORGOTTEN_AFTER) this.#known.delete(key)
  }

  #add(others: Map<string, Sample>, { labels, value }: Sample): void {
    const { queue: _queue, task, ...rest } = labels
    const shared = { queue: OTHERS, ...(task !== undefined && { task: OTHERS }), ...rest }
    const key = JSON.stringify(shared)
    others.set(key, { labels: shared, value: this.together(others.get(key)?.value ?? 0, value) })
  }
}
