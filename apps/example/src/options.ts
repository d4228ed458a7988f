import { cac } from 'cac'

export interface Options {
  readonly once: boolean
  readonly orders: string
  readonly port: number
}

/** The command line. Ends the process after --help, and with code 2 when there is something that it does not know. */
export function readOptions(argv: string[], ordersFile: string): Options {
  const cli = cac('npm start --')
  cli
    .command('', 'Runs the example shop: API, worker, and a database unless DATABASE_URL names one.')
    .option('--once', 'Place the orders of a file, do all that follows, check the books, and end')
    .option('--orders <file>', 'A CSV file with customer,sku,quantity, for --once', { default: ordersFile })
    .option('--port <port>', 'Where the API listens; 0 takes a free one', { default: 3000 })
    .action((options) => options)
  cli.help()
  try {
    const { options, args } = cli.parse(argv, { run: false })
    if (options.help) process.exit(0)
    cli.runMatchedCommand()
    if (args.length > 0) throw new Error(`"${args[0]}" is no option`)
    const port = Number(options.port)
    if (!Number.isInteger(port) || port < 0 || port > 65_535) throw new Error(`--port ${options.port} is no port`)
    return { once: options.once === true, orders: String(options.orders), port }
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}. See: npm start -- --help`)
    process.exit(2)
  }
}
