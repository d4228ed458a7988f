import type { Registry } from 'prom-client'

/** What a scrape shows: the value of each series, by its name with labels in alphabetical order. */
export async function scrape(registry: Registry<any>): Promise<Map<string, number>> {
  const values = new Map<string, number>()
  for (const line of (await registry.metrics()).split('\n')) {
    const [, name, labels, value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? []
    if (name) values.set(labels ? `${name}{${labels.split(',').sort().join(',')}}` : name, Number(value))
  }
  return values
}

/** The series of a metric, by the part of their labels that tells them apart. */
export const seriesOf = (values: Map<string, number>, metric: string): Record<string, number> =>
  Object.fromEntries(
    [...values]
      .filter(([name]) => name === metric || name.startsWith(`${metric}{`))
      .map(([name, value]) => [name.slice(metric.length), value]),
  )
