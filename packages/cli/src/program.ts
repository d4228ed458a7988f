import { readFileSync } from 'node:fs'
import { Argument, Command, InvalidArgumentError, Option } from 'commander'

const EXIT_CODES = `
Exit codes:
  0    done, or nothing to do; doctor: nothing is wrong
  1    it failed; doctor: something is wrong; jobs <id>: there is no such job; or you said no;
       retry, cancel, redrive <ids>: none of them fits; schedules <action> <names>: there is none of these
  2    the command line is wrong; nothing was done
  130  ended early by Ctrl-C, 143 by SIGTERM; what was done was said

The database is --database-url, or else DATABASE_URL, or else what PGHOST, PGPORT, PGUSER, PGPASSWORD and PGDATABASE say.
The schema is --schema, or else PGQ_SCHEMA, or else pgq.`

/**
 * The command line. Each command loads what it needs when it runs: help and mistakes are answered at once; mistakes not in words where
 * the answer is to be JSON.
 */
export function pgqProgram(ended: (exitCode: number) => void, json = false): Command {
  const program = new Command('pgq')
    .description('A job queue on PostgreSQL: migrate, run workers, see what waits and why, and steer it.')
    .version(version(), '--version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .addHelpText('after', EXIT_CODES)
    // Beside a long name there is less room than what commander wraps by itself.
    .configureHelp({ minWidthToWrap: 30 })
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'pgq: ')),
      ...(json && { writeErr() {} }),
    })
    .showHelpAfterError('See: pgq help')
    .exitOverride()

  command('migrate', "bring the queue's schema to this version; any number of processes may do so at once")
    .option('--down <version>', 'go down to this version instead; 0 drops everything, jobs too', wholeNumber(0))
    .option('--print', 'print the SQL for a migration tool of your own; needs no database')
    .option('--from <version>', 'with --print: the version that the database has', wholeNumber(0))
    .option('-y, --yes', 'with --down: do not ask')
    .action(async (options) => ended(await (await import('./commands/migrate.js')).migrate(options)))

  command('work', 'run a worker with the handlers that a module exports, until Ctrl-C or SIGTERM drains it')
    .argument('<module>', 'exports handlers, or all options of createWorker as default')
    .option('-q, --queue <name>', 'serve this queue; may be repeated (default: those of the tasks)', collect)
    .option('-c, --concurrency <n>', 'handlers at the same time, per delivery mode (default: 10)', wholeNumber(1))
    .option('--grace-ms <ms>', 'how long handlers may go on after a stop (default: 20000)', wholeNumber(0))
    .option('--poll-ms <ms>', 'the longest time between two looks (default: 5000)', wholeNumber(10))
    .option('--no-doorbell', 'poll only, without LISTEN')
    .addOption(logLevel())
    .action(async (module, options) => ended(await (await import('./commands/work.js')).work(module, options)))

  watchable(command('status', 'show what each queue holds, who works, and how the last hour went')).action(
    async (options) => ended(await (await import('./commands/status.js')).status(options)),
  )

  watchable(command('jobs', 'list jobs, or show one whole'))
    .argument('[id]', 'show this job, wherever it is')
    .addOption(queue())
    .addOption(task())
    .addOption(key())
    .addOption(state('ready', 'scheduled', 'parked', 'running', 'dead'))
    .option('-l, --limit <n>', 'at most so many', wholeNumber(1), 20)
    .option('--after <cursor>', 'go on after a page, with --state')
    .option('--args', 'show args too; they may hold what not everybody should see')
    .action(async (id, options) => {
      if (id === undefined) return ended(await (await import('./commands/jobs.js')).jobs(options))
      ended(await (await import('./commands/job.js')).job(id, options))
    })

  bulk('retry', 'make scheduled jobs ready now: delayed ones, and those that wait for their next attempt').action(
    async (ids, options) => ended(await (await import('./commands/steer.js')).retry(ids, options)),
  )

  bulk('cancel', 'cancel jobs that wait, and ask those that run to end')
    .addOption(state('ready', 'scheduled', 'parked', 'running'))
    .action(async (ids, options) => ended(await (await import('./commands/steer.js')).cancel(ids, options)))

  bulk('redrive', 'put dead letters back into their queues, with their attempts counted from zero')
    .addOption(choice('--reason <reason>', 'dead for this reason', 'exhausted', 'failed', 'cancelled', 'crashed'))
    .option('--error <text>', 'whose last error, "name: message", contains this')
    .action(async (ids, options) => ended(await (await import('./commands/steer.js')).redrive(ids, options)))

  command('pause', 'let no worker take jobs from these queues, everywhere at once; what runs goes on')
    .argument('<queues...>')
    .action(async (queues, options) => ended(await (await import('./commands/pause.js')).pause(queues, options)))

  command('resume', 'let paused queues go on')
    .argument('<queues...>')
    .action(async (queues, options) => ended(await (await import('./commands/pause.js')).resume(queues, options)))

  watchable(command('schedules', 'list the schedules, or steer those that are named'))
    .addArgument(
      new Argument('[action]', 'do this; run enqueues a job now').choices(['pause', 'resume', 'run', 'remove']),
    )
    .argument('[names...]', 'to these schedules')
    .action(async (action, names, options) => {
      if (action === undefined) return ended(await (await import('./commands/schedules.js')).schedules(options))
      ended(await (await import('./commands/steer-schedules.js')).steerSchedules(action, names, options))
    })

  command('dashboard', 'serve the web page, until Ctrl-C; to this machine alone unless a password is set')
    .option('--host <address>', 'where to listen (default: 127.0.0.1)')
    .option('--port <port>', '0 takes a free one (default: 4747)', wholeNumber(0, 65_535))
    .option('--base-path <path>', 'the path that it is served at (default: /)')
    .option('--allow <permission>', 'what may be done beside looking; "all", or one, repeated', collect)
    .option('--allowed-host <name>', 'a host name that it answers to; may be repeated', collect)
    .option('--redact <path>', 'hide this in args: **.password; may be repeated', collect)
    .addOption(logLevel())
    .addHelpText('after', '\nBasic auth is PGQ_DASHBOARD_USER and PGQ_DASHBOARD_PASSWORD, in the environment alone.')
    .action(async (options) => ended(await (await import('./commands/dashboard.js')).dashboard(options)))

  watchable(
    command('doctor', 'say what slows the queue down, or will, and what to do; exits with 1 when something does'),
  )
    .option(
      '--backlog-ms <ms>',
      'how long ready jobs may wait before that is a warning (default: 60000)',
      wholeNumber(1),
    )
    .action(async (options) => ended(await (await import('./commands/doctor.js')).doctor(options)))

  // Commander's own answers an unknown command with the help of all, and 0.
  program
    .command('help')
    .description('print help for a command')
    .argument('[command]')
    .action((name) => {
      const found = name === undefined ? program : program.commands.find((one) => one.name() === name)
      if (found) return found.help()
      program.error(`error: unknown command '${name}'`)
    })

  return program

  function command(name: string, description: string): Command {
    return program
      .command(name)
      .description(description)
      .helpOption('-h, --help', 'print help')
      .showHelpAfterError(`See: pgq help ${name}`)
      .option('--database-url <url>', 'the database; a password is safer in DATABASE_URL')
      .option('--schema <name>', 'the schema that pgq was migrated into')
      .option('--json', 'answer in JSON, a line each')
  }

  function bulk(name: string, description: string): Command {
    return command(name, description)
      .argument('[ids...]', 'these jobs')
      .addOption(queue())
      .addOption(task())
      .addOption(key())
      .option('-n, --dry-run', 'only say how many it would be')
      .option('-y, --yes', 'do not ask')
  }
}

const watchable = (command: Command): Command =>
  command
    .option('-w, --watch', 'look again and again, until Ctrl-C')
    .option('--every-ms <ms>', 'with --watch: the time between two looks (default: 2000)', wholeNumber(100, 86_400_000))

const queue = (): Option => new Option('-q, --queue <name>', 'of this queue')
const task = (): Option => new Option('-t, --task <name>', 'of this task')
const key = (): Option => new Option('-k, --key <key>', 'with --task: the unique job of this key')
const state = (...states: string[]): Option => choice('-s, --state <state>', 'in this state', ...states)
const logLevel = (): Option =>
  choice('--log-level <level>', 'log from here on (default: info)', 'debug', 'info', 'warn', 'error')

const choice = (flags: string, description: string, ...choices: string[]): Option =>
  new Option(flags, description).choices(choices)

const collect = (value: string, before: readonly string[] = []): string[] => [...before, value]

const wholeNumber =
  (least: number, most = Number.MAX_SAFE_INTEGER) =>
  (text: string): number => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= least && value <= most) return value
    const range = most === Number.MAX_SAFE_INTEGER ? `from ${least} on` : `from ${least} to ${most}`
    throw new InvalidArgumentError(`Use a whole number ${range}.`)
  }

const version = (): string => JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
