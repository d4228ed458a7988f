import { sqlStateOf } from '@pgq/core'
import type { Logger } from './audit.js'
import { SlowDatabaseError } from './questions.js'

/**
 * Tells the log what fails once, when it begins, and once when that is over: every open page goes on asking, every few seconds. A database
 * that cannot be reached is one failure, whatever was asked.
 */
export class Failures {
  /** Since when, by what fails. */
  readonly #begun = new Map<string, number>()

  constructor(private readonly logger: Logger) {}

  failed(question: string, error: unknown): void {
    const isAway = isUnreachable(error)
    const what = isAway ? DATABASE : question
    if (this.#begun.has(what)) return
    this.#begun.set(what, performance.now())
    const { name, message } = error as Error
    this.logger.error(
      { err: { name, message } },
      isAway ? 'dashboard: the database cannot be reached' : 'dashboard: a question failed',
    )
  }

  answered(question: string): void {
    this.#over(DATABASE, 'dashboard: the database answers again')
    this.#over(question, 'dashboard: the question that failed is answered again')
  }

  #over(what: string, message: string): void {
    const begun = this.#begun.get(what)
    if (begun === undefined) return
    this.#begun.delete(what)
    this.logger.info({ downMs: Math.round(performance.now() - begun) }, message)
  }
}

/** No path of ours is so. */
const DATABASE = 'database'

/** By PostgreSQL's code for connections, servers that stop or start, and too many clients; or without one, by the client or the network. */
function isUnreachable(error: unknown): boolean {
  if (error instanceof SlowDatabaseError) return false // maybe this question alone
  const state = sqlStateOf(error)
  if (state !== undefined) return /^(08|57P|53300)/.test(state)
  const { name, code } = error as { name?: unknown; code?: unknown }
  return /^E[A-Z_]+$/.test(String(code)) || (name === 'Error' && code === undefined)
}
