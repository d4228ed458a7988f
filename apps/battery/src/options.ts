import { cac } from 'cac'
import type { BatteryTest } from './battery-test.js'

export interface Options {
  readonly seed: number
  readonly long: boolean
  readonly mutants: boolean
  /** No test begins later than this, in seconds from the start; those that are left are skipped. */
  readonly within: number | undefined
  readonly chosen: readonly BatteryTest[]
}

/** The command line. Throws when there is something that it does not know; ends the process after --help. */
export function readOptions(argv: string[], tests: readonly BatteryTest[]): Options {
  const cli = cac('npm run battery --')
  cli
    .command(
      '',
      'Breaks a running queue in many ways, and checks what must hold. The short form takes about 8 minutes.',
    )
    .option('--long', 'More of everything: hours')
    .option('--seed <number>', 'Repeat the random choices of an earlier run')
    .option('--only <names>', 'Only these tests, separated by commas')
    .option('--within <seconds>', 'Skip what has not begun after this time')
    .option('--mutants', 'Instead, check that every safety test fails with each defect that it is there to find')
    .action((options) => options)
  cli.help()
  const { options } = cli.parse(['', '', ...argv], { run: false })
  if (options.help) process.exit(0)
  cli.runMatchedCommand()
  const seed = Number(options.seed ?? Math.floor(Math.random() * 1_000_000))
  if (!Number.isInteger(seed)) throw new Error(`--seed ${options.seed} is no whole number`)
  const within = options.within === undefined ? undefined : Number(options.within)
  if (Number.isNaN(within)) throw new Error(`--within ${options.within} is no number`)
  return {
    seed,
    within,
    long: options.long === true,
    mutants: options.mutants === true,
    chosen: choose(tests, options.only),
  }
}

function choose(tests: readonly BatteryTest[], only: unknown): readonly BatteryTest[] {
  if (only === undefined) return tests
  return String(only)
    .split(',')
    .map((name) => {
      const test = tests.find((test) => test.name === name || String(test.number) === name)
      if (!test) throw new Error(`there is no test "${name}"; there are: ${tests.map(({ name }) => name).join(', ')}`)
      return test
    })
}
