import type { ActionName, ActionTarget } from './actions.js'

/** What pino, and most loggers like it, understand: fields first, then the message. */
export interface Logger {
  info(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** Somebody wanted to change something. */
export interface AuditEvent {
  readonly at: Date
  readonly user: string
  readonly action: ActionName
  readonly target: ActionTarget
  /**
   * Done; refused, for want of a permission or because it came from no page of ours, when its target is not read; or failed: the
   * database said no, maybe after some of the jobs, or the target was none and is empty here.
   */
  readonly outcome: 'done' | 'denied' | 'failed'
  /** How many jobs it changed, or 1 for a queue or a schedule, unless it was refused. */
  readonly jobs?: number
  /** The job that it enqueued, where it ran a schedule. */
  readonly jobId?: string
}

/** Hears of what was done. */
export type OnAudit = (event: AuditEvent) => void | Promise<void>

/** Tells the logger and the callback. Neither can undo what was done, nor keep the other from hearing of it. */
export function audit(event: AuditEvent, { logger, onAudit }: { logger: Logger; onAudit: OnAudit }): void {
  logger.info(event, `dashboard: ${event.action} ${event.outcome}`)
  void tell(event, onAudit).catch((error) => logger.error({ err: error }, 'dashboard: onAudit failed'))
}

// What it throws is a rejection, too.
const tell = async (event: AuditEvent, onAudit: OnAudit): Promise<void> => onAudit(event)

/** A logger that cannot fail: when it does, there is nobody left to tell. */
export const quiet = (logger: Logger): Logger => ({
  info: (fields, message) => quietly(() => logger.info(fields, message)),
  error: (fields, message) => quietly(() => logger.error(fields, message)),
})

function quietly(log: () => void): void {
  try {
    log()
  } catch {}
}
