import { bucketEndMs } from '@pgq/core'

/** Half, 95 % and 99 % of the jobs took at most so many ms. Off by 19 % at the most: durations are kept in buckets of that width. */
export interface Percentiles {
  readonly p50: number
  readonly p95: number
  readonly p99: number
}

/** Buckets and how many durations each has, in any order; a bucket may come twice. */
export type Histogram = readonly (readonly [bucket: number, count: number])[]

/** Undefined when there is nothing. */
export function percentilesOf(histogram: Histogram): Percentiles | undefined {
  const counts = new Map<number, number>()
  for (const [bucket, count] of histogram) counts.set(bucket, (counts.get(bucket) ?? 0) + count)
  const ascending = [...counts].sort(([a], [b]) => a - b)
  const total = ascending.reduce((sum, [, count]) => sum + count, 0)
  if (total === 0) return undefined
  const of = (share: number) => percentile(ascending, total * share)
  return { p50: of(0.5), p95: of(0.95), p99: of(0.99) }
}

/** The duration that so many do not exceed; inside its bucket they count as spread evenly over its logarithm. */
function percentile(ascending: Histogram, rank: number): number {
  let below = 0
  for (const [bucket, count] of ascending) {
    if (below + count >= rank) return bucketEndMs(bucket - 1 + (rank - below) / count)
    below += count
  }
  return bucketEndMs(ascending.at(-1)![0])
}
