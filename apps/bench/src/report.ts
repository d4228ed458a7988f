import type { Column, Scenario } from './scenarios/scenario.js'
import { type Spread, spread } from './statistics.js'

/** One run of one system in one scenario. */
export interface Run {
  readonly scenario: string
  readonly system: string
  readonly repetition: number
  /** Null where it could not be told, as JSON keeps it. */
  readonly figures: Readonly<Record<string, number | null | undefined>>
}

/** A Markdown table of one scenario: medians, and between what the runs lay. Empty when it did not run. */
export function scenarioTable({ name, columns }: Pick<Scenario, 'name' | 'columns'>, runs: readonly Run[]): string {
  const rows = systemsIn(runs, name).map((system) => [
    system,
    ...columns.map((column) => cell(column, spreadOf(runs, name, system, column.key))),
  ])
  return rows.length === 0 ? '' : table(['system', ...columns.map(({ title }) => title)], rows)
}

/** The first cell of a row is a name, the others are numbers. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const rule = head.map((_, index) => (index === 0 ? '---' : '---:'))
  return [head, rule, ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n')
}

/** The systems that ran in a scenario, in the order in which they first did. */
export const systemsIn = (runs: readonly Run[], scenario: string): string[] => [
  ...new Set(runs.filter((run) => run.scenario === scenario).map(({ system }) => system)),
]

/** One figure over the repetitions. */
export function spreadOf(runs: readonly Run[], scenario: string, system: string, key: string): Spread | undefined {
  const mine = runs.filter((run) => run.scenario === scenario && run.system === system)
  return spread(mine.map(({ figures }) => figures[key]).filter((value) => typeof value === 'number'))
}

/** With the column's digits; with one at least where nothing would be left without. */
export function formatFigure({ digits = 0 }: Pick<Column, 'digits'>, value: number): string {
  const shown = digits === 0 && value > 0 && value < 2 && !Number.isInteger(value) ? 1 : digits
  return value.toLocaleString('en', { minimumFractionDigits: shown, maximumFractionDigits: shown })
}

function cell(column: Column, figure: Spread | undefined): string {
  if (!figure) return '-'
  const [median, min, max] = [figure.median, figure.min, figure.max].map((value) => formatFigure(column, value))
  return min === max ? median! : `${median} (${min}–${max})`
}
