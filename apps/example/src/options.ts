import { cac } from 'cac'

export interface Options {
  readonly once: boolean
  /** A CSV file. */
  readonly orders: string
  readonly port: number
}

const WHAT = 'Runs the example shop: API, dashboard, worker, and a database unless DATABASE_URL names one.'

const EXIT_CODES = `  0  the books are right
  1  the books are wrong, or the shop could not run
  2  the command line or the orders file is wrong`

/** The command line. Ends the process after --help, and with code 2 when there is something wrong with it. */
export function readOptions(argv: readonly string[], ordersFile: string): Options {
  const cli = cac('npm start --')
  cli
    .command('')
    .usage('[options]')
    .option('--once', 'Place the orders of a file, do all that follows, check the books, and end')
    .option('--orders <file>', 'With --once: a CSV file with customer,sku,quantity (default: 5,000 orders)')
    .option('--port <port>', 'Where API and dashboard listen; 0 takes a free one', { default: 3000 })
    .action(() => {})
  // Without the list of commands: there is only one.
  cli.help((sections) => [
    { body: WHAT },
    ...sections.filter(({ title }) => title === 'Usage' || title === 'Options'),
    { title: 'Exit codes with --once', body: EXIT_CODES },
  ])
  try {
    const { options } = cli.parse([...argv], { run: false })
    if (options.help) process.exit(0)
    cli.runMatchedCommand() // refuses what it does not know
    const port = Number(options.port)
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port ${options.port} is no port`)
    if (options.orders && !options.once) throw new Error('--orders is for --once')
    return { once: options.once === true, orders: String(options.orders ?? ordersFile), port }
  } catch (error) {
    return refuse(`${(error as Error).message}. See: npm start -- --help`)
  }
}

/** Ends the process because of what its user asked for. */
export function refuse(message: string): never {
  console.error(message)
  process.exit(2)
}
