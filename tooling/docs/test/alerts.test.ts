import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Tree } from '@lezer/common'
import { defineTask, typed } from '@pgq/core'
import { observeWorker, queueMetrics } from '@pgq/telemetry/prometheus'
import { testDatabase } from '@pgq/test-db'
import { createWorker } from '@pgq/worker'
import { parser } from '@prometheus-io/lezer-promql'
import { load } from 'js-yaml'
import pg from 'pg'
import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { allPages, blocksOf, headingsOf, root } from './page.js'

interface Rule {
  readonly alert: string
  readonly expr: string
  readonly for?: string
}

const blocks = allPages()
  .flatMap((page) => blocksOf(page))
  .filter(({ language, code }) => language === 'yaml' && code.startsWith('groups:'))
const rules = blocks.flatMap(({ code }) =>
  (load(code) as { groups: { rules: Rule[] }[] }).groups.flatMap((group) => group.rules),
)

test('there are rules, each with a name of its own', () => {
  expect(rules.length).toBeGreaterThan(8)
  expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length)
})

const database = await testDatabase()
const metrics = await everySeries()

// Mutants: a bracket too few, a metric or a label that was renamed, a duration that is none.
test.each(rules)('$alert is PromQL, over metrics that there are', (rule) => {
  const tree = parser.parse(rule.expr)
  expect(textsOf(tree, '⚠', rule.expr), rule.expr).toEqual([])
  expect(Object.keys(rule).filter((key) => !['alert', 'expr', 'for'].includes(key))).toEqual([])
  expect(rule.for ?? '1m').toMatch(/^\d+[smh]$/)
  const names = textsOf(tree, 'Identifier', rule.expr).filter((name) => name.startsWith('pgq_'))
  expect(names.length).toBeGreaterThan(0)
  const known = names.map((name) => metrics.get(name))
  expect(known, rule.expr).not.toContain(undefined)
  const labels = new Set([...known.flatMap((metric) => metric!), 'instance'])
  for (const label of textsOf(tree, 'LabelName', rule.expr)) expect([...labels], rule.expr).toContain(label)
})

test('what they say of the runbook is there', () => {
  const named = blocks.flatMap(({ code }) => [...code.matchAll(/runbook\.md#([\w-]+)/g)].map(([, name]) => name!))
  expect(named.length).toBeGreaterThan(2)
  expect(headingsOf(readFileSync(join(root, 'docs/runbook.md'), 'utf8'))).toEqual(expect.arrayContaining(named))
})

/** Every series of a process whose worker has run a job: the metric's name, and its labels. */
async function everySeries(): Promise<Map<string, readonly string[]>> {
  const registry = new Registry()
  const pool = new pg.Pool({ connectionString: database.url })
  const task = defineTask('any', { args: typed<number>() })
  const worker = createWorker({ connectionString: database.url, handlers: [task.handle(() => {})] })
  observeWorker(worker, { registry })
  queueMetrics(pool, { registry })
  const settled = new Promise((resolve) => worker.on('jobs.settled', resolve))
  await task.enqueueMany(pool, [{ args: 1 }, { args: 2, delayMs: 3_600_000 }])
  await worker.start()
  await settled
  const text = await registry.metrics()
  await worker.stop()
  await pool.end()
  return new Map(
    [...text.matchAll(/^(\w+)(?:\{(.*)\})? /gm)].map(([, name, labels = '']) => [
      name!,
      [...labels.matchAll(/(\w+)="/g)].map(([, label]) => label!),
    ]),
  )
}

function textsOf(tree: Tree, type: string, text: string): string[] {
  const found: string[] = []
  tree.iterate({
    enter: (node) => {
      if (node.name === type) found.push(text.slice(node.from, node.to))
    },
  })
  return found
}
