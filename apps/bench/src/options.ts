import { cac } from 'cac'
import { scenarios } from './scenarios/index.js'
import type { Scenario } from './scenarios/scenario.js'
import { type SystemName, systemNames } from './systems/index.js'

export interface Options {
  readonly scenarios: readonly Scenario[]
  readonly systems: readonly SystemName[]
  readonly repetitions: number
  readonly scale: number
  readonly json: string | undefined
  readonly plot: string | undefined
  readonly from: string | undefined
  readonly page: string | undefined
}

/** The command line. Ends the process after --help and --list, and with code 2 when there is something that it does not know. */
export function readOptions(argv: string[]): Options {
  const cli = cac('npm run bench --')
  cli
    .command(
      '[...scenarios]',
      'Measures these scenarios; all of them without a name. `drain` is all that begin with `drain/`.',
    )
    .option('--systems <names>', `Which ones, with commas: ${systemNames.join(', ')}`)
    .option('--reps <n>', 'How often each runs; the table shows the median', { default: 3 })
    .option('--scale <share>', 'A share of the jobs and the time, for a quick look', { default: 1 })
    .option('--json <file>', 'Write every run to this file; other scenarios that it has stay in it')
    .option('--plot [folder]', 'Write charts to this folder as SVG')
    .option('--from <file>', 'Report what --json wrote, and measure nothing')
    .option('--page <file>', 'Renew the tables of this Markdown page')
    .option('--list', 'Show the scenarios and end')
    .action((_, options) => options)
  cli.help()
  try {
    const { options, args } = cli.parse(argv, { run: false })
    if (options.help) process.exit(0)
    cli.runMatchedCommand()
    if (options.list) {
      for (const { name, title } of scenarios) console.log(`${name.padEnd(26)} ${title}`)
      process.exit(0)
    }
    return {
      scenarios: args.length === 0 ? scenarios : args.flatMap(scenariosIn),
      systems: options.systems ? String(options.systems).split(',').map(systemCalled) : systemNames,
      repetitions: positive('--reps', options.reps),
      scale: positive('--scale', options.scale),
      json: options.json,
      plot: options.plot === true ? '.' : options.plot,
      from: options.from,
      page: options.page,
    }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}. See: npm run bench -- --help`)
    process.exit(2)
  }
}

function scenariosIn(path: string): Scenario[] {
  const found = scenarios.filter(({ name }) => name === path || name.startsWith(`${path}/`))
  if (found.length === 0) throw new Error(`There is no scenario "${path}"; --list shows them`)
  return found
}

function systemCalled(name: string): SystemName {
  const found = systemNames.find((known) => known === name)
  if (!found) throw new Error(`There is no system "${name}": use ${systemNames.join(', ')}`)
  return found
}

function positive(option: string, given: unknown): number {
  const value = Number(given)
  if (value > 0) return value
  throw new Error(`${option} ${String(given)} is no number above 0`)
}
