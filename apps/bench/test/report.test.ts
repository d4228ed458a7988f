import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { beforeEach, expect, onTestFinished, test } from 'vitest'
import { goalsTable } from '../src/goals.js'
import { renewPage } from '../src/page.js'
import { type Run, scenarioTable } from '../src/report.js'
import { readResults, writeResults } from '../src/results.js'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgq-bench-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
})

const runs = (scenario: string, system: string, rates: readonly (number | null)[]): Run[] =>
  rates.map((rate, index) => ({ scenario, system, repetition: index + 1, figures: { rate } }))

test('a table shows the median and between what the runs lay', () => {
  const all = [...runs('bulk', 'pgq', [30_000, 10_000, 20_000]), ...runs('bulk', 'sql', [null, 4, 2])]
  const columns = [{ key: 'rate', title: 'jobs/s' }]
  expect(scenarioTable({ name: 'bulk', columns }, all)).toBe(
    `| system | jobs/s |
| --- | ---: |
| pgq | 20,000 (10,000–30,000) |
| sql | 3 (2–4) |`,
  )
  expect(scenarioTable({ name: 'drain', columns }, all)).toBe('')
})

test('a goal is shown when both of its figures were measured, and is missed when the ratio is too low', () => {
  expect(goalsTable(runs('bulk', 'pgq', [100]))).toBe('')
  const table = goalsTable([
    ...runs('bulk', 'pgq', [100]),
    ...runs('bulk', 'graphile', [40]),
    ...runs('bulk', 'sql', [200]),
  ])
  expect(table).toContain('| bulk / graphile | ≥ 2.00 | 2.50 | yes |')
  expect(table).toContain('| bulk / hand-written unnest | ≥ 0.90 | 0.50 | **no** |')
})

test('a goal is the median of the ratios, not the ratio of the medians', () => {
  // Mutant: the ratio of the medians is 1.00.
  const drifting = [...runs('bulk', 'pgq', [10, 30, 20]), ...runs('bulk', 'sql', [20, 50, 10])]
  expect(goalsTable(drifting)).toContain('| bulk / hand-written unnest | ≥ 0.90 | 0.60 | **no** |')
})

test('a scenario that is measured again replaces all that was measured of it, and nothing else', () => {
  const file = join(folder, 'results.json')
  const machine = { node: '20' }
  writeResults(file, {
    machine,
    runs: [...runs('bulk', 'pgq', [1]), ...runs('bulk', 'sql', [2]), ...runs('mixed', 'pgq', [3])],
  })
  writeResults(file, { machine, runs: runs('bulk', 'pgq', [4]) })
  expect(readResults(file).runs.map(({ scenario, figures }) => [scenario, figures.rate])).toEqual([
    ['mixed', 3],
    ['bulk', 4],
  ])
})

test('the tables of a page are renewed, and what stands around them stays', () => {
  const file = join(folder, 'page.md')
  writeFileSync(file, 'Before.\n<!-- bench: bulk -->\nold\n<!-- /bench -->\nAfter.\n')
  const results = { machine: { node: '20' }, runs: runs('bulk', 'pgq', [7]) }
  renewPage(file, results)
  const renewed = readFileSync(file, 'utf8')
  expect(renewed).toMatch(/^Before\.\n<!-- bench: bulk -->\n\n\| system .*\| pgq \| 7 .*<!-- \/bench -->\nAfter\.\n$/s)
  renewPage(file, results)
  expect(readFileSync(file, 'utf8')).toBe(renewed)
  writeFileSync(file, '<!-- bench: bulg -->\n<!-- /bench -->\n')
  expect(() => renewPage(file, results)).toThrow('"bulg"')
})
