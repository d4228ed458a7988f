import { readFileSync } from 'node:fs'
import { defineTask, typed } from '@pgq/core'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { observeWorker, queueMetrics } from '../src/prometheus.js'
import { queue, settled } from './queue.js'
import { scrape } from './scrape.js'

const dashboard = JSON.parse(readFileSync(new URL('../grafana/pgq.json', import.meta.url), 'utf8'))
const panels: { title: string; targets: { expr: string; legendFormat?: string }[] }[] = dashboard.panels
const db = await queue()

const METRIC = /\bpgq_\w+/g
/** The labels that an expression or a legend speaks of: by (queue), {outcome="..."}, {{task}}. */
const LABELS = [/\bby \(([\w, ]+)\)/g, /\{([^{}]*)\}/g]

/** Every series of a process with a busy worker, by its metric, as labels. */
async function everySeries(): Promise<Map<string, Set<string>>> {
  const mail = defineTask('mail', { args: typed<number>() })
  const registry = new Registry()
  const worker = db.worker([mail.handle(() => {})])
  observeWorker(worker, { registry })
  queueMetrics(db.pool, { registry })
  const done = settled(worker, 1)
  await mail.enqueueMany(db.pool, [{ args: 1 }, { args: 2, delayMs: 3_600_000 }])
  await worker.start()
  await done
  const found = new Map<string, Set<string>>()
  for (const series of (await scrape(registry)).keys()) {
    const [name = '', labels = ''] = series.split(/[{}]/)
    const known = found.get(name) ?? new Set()
    for (const [, label] of labels.matchAll(/(\w+)="/g)) known.add(label!)
    found.set(name, known)
  }
  return found
}

// Mutants: a metric or a label that was renamed, and a panel that stays empty for ever.
test('the dashboard names only metrics and labels that there are', async () => {
  const series = await everySeries()
  const expressions = panels.flatMap(({ targets }) => targets.map(({ expr }) => expr))
  expect(expressions.length).toBeGreaterThan(10)
  for (const expression of expressions) {
    const metrics = expression.match(METRIC) ?? []
    expect(metrics.length, expression).toBeGreaterThan(0)
    for (const metric of metrics) expect([...series.keys()], expression).toContain(metric)
    const labels = new Set(metrics.flatMap((metric) => [...series.get(metric)!]))
    for (const label of labelsIn(expression)) expect([...labels], expression).toContain(label)
  }
})

test('a legend shows what its expression keeps', () => {
  for (const { title, targets } of panels) {
    for (const { expr, legendFormat = '' } of targets) {
      for (const [, label] of legendFormat.matchAll(/\{\{(\w+)\}\}/g)) expect(labelsIn(expr), title).toContain(label)
    }
  }
})

test('it asks for its data source, has a stable uid, and no panel lies on another', () => {
  expect(dashboard).toMatchObject({ uid: 'pgq', id: null })
  expect(dashboard.templating.list[0]).toMatchObject({ name: 'datasource', type: 'datasource', query: 'prometheus' })
  const cells = dashboard.panels.flatMap(
    ({ gridPos: { x, y, w, h } }: { gridPos: Record<'x' | 'y' | 'w' | 'h', number> }) =>
      Array.from({ length: w * h }, (_, n) => `${x + (n % w)} ${y + Math.floor(n / w)}`),
  )
  expect(new Set(cells).size).toBe(cells.length)
  expect(new Set(dashboard.panels.map(({ id }: { id: number }) => id)).size).toBe(panels.length)
})

function labelsIn(expression: string): string[] {
  const kept = [...expression.matchAll(LABELS[0]!)].flatMap(([, names]) => names!.split(/,\s*/))
  const matched = [...expression.matchAll(LABELS[1]!)].flatMap(([, matchers]) =>
    [...matchers!.matchAll(/(\w+)\s*(?:=~|!=|!~|=)/g)].map(([, label]) => label!),
  )
  return [...kept, ...matched]
}
