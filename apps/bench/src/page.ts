import { readFileSync, writeFileSync } from 'node:fs'
import { goalsTable } from './goals.js'
import type { Machine } from './machine.js'
import { scenarioTable } from './report.js'
import type { Results } from './results.js'
import { scenarios } from './scenarios/index.js'

/** `<!-- bench: name -->` ... `<!-- /bench -->`: what stands between is made from the results. */
const PLACE = /(<!-- bench: (\S+) -->\n)[\s\S]*?(<!-- \/bench -->)/g

/** Renews the tables of a Markdown page. Throws when it asks for a scenario that there is not. */
export function renewPage(file: string, results: Results): void {
  const page = readFileSync(file, 'utf8')
  writeFileSync(
    file,
    page.replace(PLACE, (_, begin, name, end) => `${begin}\n${blockOf(name, results)}\n\n${end}`),
  )
}

function blockOf(name: string, { machine, runs }: Results): string {
  if (name === 'machine') return machineList(machine)
  if (name === 'goals') return goalsTable(runs)
  const scenario = scenarios.find((known) => known.name === name)
  if (!scenario) throw new Error(`The page asks for "${name}", which is no scenario.`)
  return scenarioTable(scenario, runs) || 'Not measured.'
}

export const machineList = (machine: Machine): string =>
  Object.entries(machine)
    .map(([name, value]) => `- ${name}: ${value}`)
    .join('\n')
