import type { Column, Scenario } from './scenarios/scenario.js'
import { type Spread, spread } from './statistics.js'

/** One run of one system in one scenario. */
export interface Run {
  readonly scenario: string
  readonly system: string
  readonly repetition: number
  readonly figures: Readonly<Record<string, number | undefined>>
}

/** A Markdown table of one scenario: medians, and in small how far the runs lay apart. */
export function scenarioTable(scenario: Pick<Scenario, 'title' | 'name' | 'columns'>, runs: readonly Run[]): string {
  const systems = [...new Set(runs.filter(({ scenario: name }) => name === scenario.name).map(({ system }) => system))]
  if (systems.length === 0) return ''
  const rows = systems.map((system) => [
    system,
    ...scenario.columns.map((column) => cell(column, spreadOf(runs, scenario.name, system, column.key))),
  ])
  const head = ['system', ...scenario.columns.map(({ title }) => title)]
  const rule = ['---', ...scenario.columns.map(() => '---:')]
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return `### ${scenario.title}\n\n${[head, rule, ...rows].map(line).join('\n')}\n`
}

/** The spread of one figure over the repetitions. */
export function spreadOf(runs: readonly Run[], scenario: string, system: string, key: string): Spread | undefined {
  const mine = runs.filter((run) => run.scenario === scenario && run.system === system)
  return spread(mine.map(({ figures }) => figures[key]).filter((value) => typeof value === 'number'))
}

function cell({ digits = 0 }: Column, figure: Spread | undefined): string {
  if (!figure) return '-'
  const format = (value: number) =>
    value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })
  const { median, min, max } = figure
  return format(min) === format(max) ? format(median) : `${format(median)} (${format(min)}–${format(max)})`
}
