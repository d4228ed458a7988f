import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Machine } from './machine.js'
import type { Run } from './report.js'

/** What --json writes and --from reads. */
export interface Results {
  readonly machine: Machine
  readonly runs: readonly Run[]
}

export const readResults = (file: string): Results => JSON.parse(readFileSync(file, 'utf8'))

/** Writes what was measured; scenarios that the file has from before and that were not measured again stay in it. */
export function writeResults(file: string, { machine, runs }: Results): void {
  const measured = new Set(runs.map(({ scenario }) => scenario))
  const before: Results = existsSync(file) ? readResults(file) : { machine: {}, runs: [] }
  const kept = before.runs.filter(({ scenario }) => !measured.has(scenario))
  const all: Results = { machine: { ...before.machine, ...machine }, runs: [...kept, ...runs] }
  writeFileSync(file, JSON.stringify(all, undefined, 1))
}
