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
  /** Done; refused for want of a permission; or the database said no. */
  readonly outcome: 'done' | 'denied' | 'failed'
  /** How many jobs it changed, when it is done. */
  readonly jobs?: number
}

/** Tells the logger and the callback. Neither can undo what was done, so their own failures are only logged. */
export function audit(event: AuditEvent, { logger, onAudit }: { logger: Logger; onAudit(event: AuditEvent): void }) {
  try {
    logger.info(event, `dashboard: ${event.action} ${event.outcome}`)
    onAudit(event)
  } catch (error) {
    logger.error({ err: error }, 'dashboard: onAudit failed')
  }
}
