import type { Sample } from './scraped-metric.js'

/** The counts of a histogram for one set of labels. */
export class BucketCounts {
  readonly #counts: number[]
  #total = 0
  #sum = 0

  /** bounds: the buckets' upper bounds in seconds, ascending. */
  constructor(private readonly bounds: readonly number[]) {
    this.#counts = new Array(bounds.length).fill(0)
  }

  observe(seconds: number): void {
    this.#total += 1
    this.#sum += seconds
    for (let place = 0; place < this.bounds.length; place++) {
      if (seconds > this.bounds[place]!) continue
      this.#counts[place]! += 1
      return
    }
  }

  /** As Prometheus wants it: each bucket counts everything up to its bound. */
  samples(name: string, labels: Sample['labels']): Sample[] {
    let upToHere = 0
    const buckets = this.bounds.map((le, place) => {
      upToHere += this.#counts[place]!
      return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: upToHere }
    })
    return [
      ...buckets,
      { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: this.#total },
      { metricName: `${name}_sum`, labels, value: this.#sum },
      { metricName: `${name}_count`, labels, value: this.#total },
    ]
  }
}
