import type { Work } from './programs/worker.js'
import type { Random } from './random.js'

/** Jobs from `first` on, each running for up to maxMs. */
export const works = (count: number, random: Random, maxMs: number, first = 0): Work[] =>
  Array.from({ length: count }, (_, index) => ({ n: first + index, ms: random.between(0, maxMs) }))
