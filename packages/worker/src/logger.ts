import { isError, storableText } from '@pgq/core'
import type { Events } from './events.js'

/** What pino, and most loggers like it, understand: fields first, then the message. */
export interface Logger {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Says nothing: the default. */
export const silentLogger: Logger = { debug() {}, info() {}, warn() {}, error() {} }

/** Writes the worker's events to the logger. Args and results are never logged; of database errors, not the detail (it prints rows). */
export function logEvents(events: Events, logger: Logger): void {
  events.on('worker.started', (event) => logger.info(event, 'worker started'))
  events.on('worker.stopping', (event) => logger.info(event, 'worker stopping'))
  events.on('worker.stopped', (event) => logger.info(event, 'worker stopped'))
  events.on('worker.replaced', (event) => logger.error(event, 'worker was taken for dead; it goes on under a new id'))
  events.on('job.started', (event) => logger.debug(event, 'job started'))
  events.on('job.settled', ({ outcome, settlement, ...label }) => {
    const error = 'error' in outcome && outcome.error !== undefined ? { err: loggableError(outcome.error) } : {}
    const fields = { ...label, outcome: outcome.type, ...error }
    if ('err' in fields && settlement.kind === 'complete')
      logger.warn(fields, 'handler failed after its job was finished')
    else if (settlement.kind === 'complete') logger.debug(fields, 'job completed')
    else if (settlement.kind === 'bury') logger.error({ ...fields, reason: settlement.reason }, 'job is dead')
    else logger.warn({ ...fields, delayMs: Math.round(settlement.delayMs) }, 'job runs again')
  })
  events.on('job.released', (event) => logger.info(event, 'job given back'))
  events.on('job.lost', ({ error, ...label }) => logger.error({ ...label, err: error }, 'job lost to another worker'))
  events.on('job.unsettled', ({ error, ...label }) => {
    const fate = label.mode === 'at-most-once' ? 'is lost' : 'runs again'
    logger.warn({ ...label, err: loggableError(error) }, `job could not be settled; it ${fate}`)
  })
  events.on('job.stuck', (event) => logger.error(event, 'handler does not heed its abort signal'))
  events.on('tasks.unknown', (event) => logger.warn(event, 'jobs wait that no handler of this worker is for'))
  events.on('schedule.failed', ({ schedule, error }) =>
    logger.error({ schedule, err: loggableError(error) }, 'a slot of a schedule has no job; trying again in a minute'),
  )
  events.on('workers.rescued', (event) => logger.warn(event, 'jobs of lost workers rescued'))
  events.on('capability.missed', ({ capability, error }) =>
    logger.warn({ capability, ...(error && { err: loggableError(error) }) }, MISSED[capability]),
  )
  events.on('worker.blocked', (event) => logger.warn(event, 'a handler blocked the event loop'))
  events.on('listener.lost', ({ error }) => logger.warn({ err: loggableError(error) }, 'LISTEN lost; polling'))
  events.on('listener.restored', (event) => logger.info(event, 'LISTEN restored'))
  events.on('database.lost', ({ error }) => logger.error({ err: loggableError(error) }, 'database lost; trying again'))
  events.on('database.restored', (event) => logger.info(event, 'database restored'))
}

const MISSED = {
  locks: 'no session locks here (a pooler?): lost workers are found by their silence alone, after leaseMs',
  notify: 'no LISTEN/NOTIFY here (a pooler?): jobs are found by polling',
  standIn: 'a handler that blocks the event loop for longer than leaseMs loses its job: no thread can beat meanwhile',
}

/** An error without what PostgreSQL says about rows, and of anything else that was thrown its text: it may hold the args. */
export function loggableError(error: unknown): unknown {
  if (!isError(error)) return { name: 'Error', message: storableText(error, 1_000) }
  const { name, message, stack } = error
  const { code } = error as { code?: unknown }
  return Object.assign(Object.create(Error.prototype), { name, message, stack, ...(code !== undefined && { code }) })
}
