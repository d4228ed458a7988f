import {
  checkName,
  checkOptionNames,
  checkSchemaName,
  DEFAULT_SCHEMA,
  type DeliveryModeName,
  type Handler,
  handlersByTask,
  InvalidOptionError,
  type Job,
  type Outcome,
  optionNames,
  shown,
} from '@pgq/core'
import type { ClientConfig } from 'pg'
import { type Logger, silentLogger } from './logger.js'

/** Wraps every handler run: call next() to go on; its outcome is the handler's. For tracing, metrics, contexts. */
export type Around = (job: Job, next: () => Promise<Outcome>) => Promise<Outcome>

/** Options of createWorker. Durations in ms. */
export interface WorkerOptions {
  /** Where the database is. The worker opens connections of its own: three, one more for at-most-once tasks, one per transactional slot. */
  readonly connectionString?: string | undefined
  /** The same as pg's client options; instead of connectionString. */
  readonly connection?: ClientConfig
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
  /** What to run: one handler per task. */
  readonly handlers: readonly Handler[]
  /** Queues to serve, in turn. Default: the queues of the handlers' tasks. */
  readonly queues?: readonly string[]
  /** Handlers that run at the same time, per delivery mode: one number for each, or by mode. Default 10. */
  readonly concurrency?: number | Partial<Record<DeliveryModeName, number>>
  /**
   * The most transactional jobs that share one transaction and one commit: their handlers run one after the other, each in a
   * savepoint, and still take effect exactly once. For many handlers of a few ms. Default 1: each job has its own.
   */
  readonly transactionalGroup?: number
  /** How long running handlers may go on after stop() before their signals abort. Default 20,000. */
  readonly graceMs?: number
  /**
   * The longest time between two looks at an idle queue: by all workers together while an enqueue rings (but each looks every
   * 30,000), by each one while none can. Default 5,000, and 1,000 while none can.
   */
  readonly pollMs?: number
  /** Sleep until an enqueue rings (LISTEN/NOTIFY); false polls only, for databases and poolers without LISTEN. Default true. */
  readonly doorbell?: boolean
  /** Not heard of for this long, this worker is taken for dead; others may have other leases. Default 30,000. */
  readonly leaseMs?: number
  /**
   * How long a handler may block the event loop: meanwhile a thread says that the worker lives. Then, and after leaseMs, it is taken
   * for dead. The thread takes 9 MiB; 0: no thread. Default 300,000.
   */
  readonly maxBlockedMs?: number
  /**
   * A job whose workers were lost this often becomes a dead letter. After two losses it runs alone, so that jobs beside it go
   * unharmed: at least 3. Default 3.
   */
  readonly maxCrashes?: number
  /**
   * The most jobs that one claim takes. Fewer where so many of the handlers' tasks, all with as much as maxArgsBytes allows, would be more
   * text than Node can hold: 1,907 with the default of 262,144. Default 1,000.
   */
  readonly maxBatch?: number
  /**
   * The most bytes of args that one claim takes, and about what is held unstarted. As they are stored: args that PostgreSQL compressed
   * (over 2 KB) count by that size, and are larger in memory. Default 8,388,608.
   */
  readonly maxBatchBytes?: number
  /** Count how jobs end, for the monitor: one statement every 5,000 ms while jobs run. Default true. */
  readonly stats?: boolean
  /** Drain on SIGTERM and SIGINT; a second signal exits at once. Default true. */
  readonly handleSignals?: boolean
  /** consoleLogger(), pino or alike. Default: silent. */
  readonly logger?: Logger
  /** Wraps every handler run. What it throws counts as the handler's error. Default: nothing. */
  readonly around?: Around
}

/** The names of all options. */
export const WORKER_OPTIONS = optionNames<WorkerOptions>({
  connectionString: true,
  connection: true,
  schema: true,
  handlers: true,
  queues: true,
  concurrency: true,
  transactionalGroup: true,
  graceMs: true,
  pollMs: true,
  doorbell: true,
  leaseMs: true,
  maxBlockedMs: true,
  maxCrashes: true,
  maxBatch: true,
  maxBatchBytes: true,
  stats: true,
  handleSignals: true,
  logger: true,
  around: true,
})

/** Options with everything decided. */
export type ResolvedOptions = ReturnType<typeof resolveOptions>

const DEFAULTS = Object.freeze({
  concurrency: 10,
  transactionalGroup: 1,
  graceMs: 20_000,
  pollMs: 5_000,
  deafPollMs: 1_000,
  leaseMs: 30_000,
  maxBlockedMs: 300_000,
  maxCrashes: 3,
  maxBatch: 1_000,
  maxBatchBytes: 8_388_608,
})

/** Decides every option, or throws InvalidOptionError saying what to change. */
export function resolveOptions(options: WorkerOptions) {
  if (isPool(options?.connection) || Object.hasOwn(options ?? {}, 'pool')) throw new InvalidOptionError(OWN_CONNECTIONS)
  checkOptionNames(options, WORKER_OPTIONS, 'createWorker')
  const schema = checkSchemaName(options.schema ?? DEFAULT_SCHEMA)
  checkKinds(options)
  const handlers = byTask(options.handlers, schema)
  const queues = options.queues ?? [...new Set([...handlers.values()].map(({ task }) => task.queue))]
  if (queues.length === 0) throw new InvalidOptionError('queues is empty: name at least one queue, or leave it out.')
  for (const queue of queues) checkName(queue, 'queue')
  const number = (name: keyof typeof DEFAULTS & keyof WorkerOptions, min: number, max: number, fallback?: number) =>
    checkNumber(name, (options[name] as number | undefined) ?? fallback ?? DEFAULTS[name], min, max)
  return Object.freeze({
    connection: connectionOf(options),
    schema,
    handlers,
    modes: [...new Set([...handlers.values()].map(({ task }) => task.mode as DeliveryModeName))],
    queues: [...new Set(queues)],
    concurrency: concurrencyOf(options.concurrency),
    transactionalGroup: number('transactionalGroup', 1, 1_000),
    graceMs: number('graceMs', 0, 86_400_000),
    /** While an enqueue rings. */
    pollMs: number('pollMs', 10, 3_600_000),
    /** While none can: no doorbell, or no connection that listens. */
    deafPollMs: number('pollMs', 10, 3_600_000, DEFAULTS.deafPollMs),
    doorbell: options.doorbell ?? true,
    leaseMs: number('leaseMs', 1_000, 86_400_000),
    maxBlockedMs: number('maxBlockedMs', 0, 86_400_000),
    maxCrashes: number('maxCrashes', 3, 32_767),
    maxBatch: Math.min(number('maxBatch', 1, 10_000), mostAtOnce(handlers)),
    maxBatchBytes: number('maxBatchBytes', 1_024, 1_073_741_824),
    stats: options.stats ?? true,
    handleSignals: options.handleSignals ?? true,
    logger: options.logger ?? silentLogger,
    around: options.around,
  })
}

/** The args of a claim come as one text, and a string has no more than 536,870,888 characters: a longer one would end the process. */
const MOST_TEXT = 500_000_000

const mostAtOnce = (handlers: ReadonlyMap<string, Handler>): number =>
  Math.max(1, Math.floor(MOST_TEXT / Math.max(...[...handlers.values()].map(({ task }) => task.maxArgsBytes))))

/** What the types say already, for those who call from JavaScript or read their options from the environment. */
function checkKinds({ queues, doorbell, stats, handleSignals, logger, around }: WorkerOptions): void {
  const check = (fits: boolean, problem: string) => {
    if (!fits) throw new InvalidOptionError(problem)
  }
  check(queues === undefined || Array.isArray(queues), "queues must be a list of names: ['default'].")
  for (const [name, value] of Object.entries({ doorbell, stats, handleSignals })) {
    check([undefined, true, false].includes(value), `${name} is ${JSON.stringify(value)}; use true or false.`)
  }
  const methods = ['debug', 'info', 'warn', 'error'] as const
  const isLogger = logger === undefined || methods.every((method) => typeof logger?.[method] === 'function')
  check(isLogger, 'logger must have the functions debug, info, warn and error, as pino has.')
  check(around === undefined || typeof around === 'function', 'around must be a function (job, next) => next().')
}

/** The habit from other queues; as a config it would mean a server on this machine. */
const isPool = (connection: object | undefined): boolean =>
  typeof connection === 'object' && connection !== null && 'query' in connection

const OWN_CONNECTIONS =
  'A worker opens connections of its own: give it connectionString, or connection with the options of a pg Client, in place of a pool.'

function byTask(handlers: readonly Handler[], schema: string): Map<string, Handler> {
  const found = handlersByTask(handlers)
  for (const { task } of found.values()) {
    if (task.schema !== schema) {
      throw new InvalidOptionError(
        `Task "${task.name}" is defined in schema "${task.schema}", the worker serves "${schema}": give both the same schema.`,
      )
    }
  }
  if (found.size === 0) throw new InvalidOptionError('handlers is empty: give at least one task.handle(...).')
  return found
}

function connectionOf({ connection, connectionString }: WorkerOptions): ClientConfig {
  if (connection && connectionString) throw new InvalidOptionError('Give connectionString or connection, not both.')
  if (!connection && !connectionString) {
    throw new InvalidOptionError('The worker needs a database: give connectionString (postgres://...) or connection.')
  }
  return connection ?? { connectionString: connectionString! }
}

function concurrencyOf(given: WorkerOptions['concurrency']): Record<DeliveryModeName, number> {
  const modes = ['at-least-once', 'at-most-once', 'transactional']
  const unknown = typeof given === 'object' && Object.keys(given ?? {}).find((mode) => !modes.includes(mode))
  if (unknown) {
    throw new InvalidOptionError(`concurrency.${unknown}: there is no such mode; there are ${modes.join(', ')}.`)
  }
  const of = (mode: DeliveryModeName) =>
    checkNumber('concurrency', (typeof given === 'object' ? given?.[mode] : given) ?? DEFAULTS.concurrency, 1, 10_000)
  return {
    'at-least-once': of('at-least-once'),
    'at-most-once': of('at-most-once'),
    transactional: of('transactional'),
  }
}

function checkNumber(name: string, value: number, min: number, max: number): number {
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new InvalidOptionError(`${name} is ${shown(value)}; use a whole number from ${min} to ${max}.`)
}
