import { expect, test } from 'vitest'
import { LabelLimit } from '../src/label-limit.js'

const total = (...values: number[]) => values.reduce((sum, value) => sum + value, 0)
const sample = (queue: string) => ({ labels: { queue }, value: 1 })
const queuesOf = (limit: LabelLimit, ...queues: string[]) =>
  limit.apply(queues.map(sample)).map(({ labels }) => labels.queue)

// Mutants: a name keeps its place for good; it loses it when it is away for one scrape.
test('a name that was not seen for 60 scrapes gives its place to another', () => {
  const limit = new LabelLimit(2, total)
  expect(queuesOf(limit, 'stays', 'goes', 'waits')).toEqual(['stays', 'goes', '(others)'])
  for (let scrape = 0; scrape < 59; scrape++) queuesOf(limit, 'stays')
  expect(queuesOf(limit, 'stays', 'waits')).toEqual(['stays', '(others)'])
  expect(queuesOf(limit, 'stays', 'waits')).toEqual(['stays', 'waits'])
  expect(queuesOf(limit, 'stays', 'goes', 'waits')).toEqual(['stays', 'waits', '(others)'])
})
