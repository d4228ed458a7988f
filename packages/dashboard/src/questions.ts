import { PgqError } from '@pgq/core'

/** The database did not answer in time. */
export class SlowDatabaseError extends Error {
  constructor(timeoutMs: number) {
    super(`The database did not answer within ${timeoutMs} ms. The page goes on asking.`)
  }
}

/** Asks a question of the database under a name. */
export type Ask = <Answer>(name: string, question: () => Promise<Answer>) => Promise<Answer>

/** What has not answered within so many timeouts never will: its connection is gone, and nobody said so. */
const GIVEN_UP = 6

/**
 * Asks each question once at a time: however many pages are open, and however slow the database is, one is under way and
 * all who ask the same meanwhile share its answer. Nobody waits longer than the timeout.
 */
export function singleFlight(timeoutMs: number): Ask {
  const underWay = new Map<string, { answer: Promise<unknown>; since: number }>()
  const begin = (name: string, question: () => Promise<unknown>) => {
    const begun = { answer: question(), since: performance.now() }
    underWay.set(name, begun)
    const forget = () => void (underWay.get(name) === begun && underWay.delete(name))
    begun.answer.then(forget, forget)
    return begun
  }
  return async <Answer>(name: string, question: () => Promise<Answer>): Promise<Answer> => {
    const known = underWay.get(name)
    const isAlive = known && performance.now() - known.since < GIVEN_UP * timeoutMs
    const { answer } = isAlive ? known : begin(name, question)
    return within(timeoutMs, answer as Promise<Answer>)
  }
}

function within<Answer>(timeoutMs: number, answer: Promise<Answer>): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new SlowDatabaseError(timeoutMs)), timeoutMs)
    answer.then(resolve, reject).finally(() => clearTimeout(timer))
  })
}

/** Of PostgreSQL: what was asked for holds a character that no text has, or what is no number or no instant that it knows. */
const ASKED_WRONGLY = ['22021', '22003', '22007', '22008']

/** What the page is told of a failure. Of a database error the message alone: its detail prints rows. */
export function explain(error: unknown): { status: 400 | 500 | 503; message: string } {
  if (error instanceof SlowDatabaseError) return { status: 503, message: error.message }
  if (error instanceof PgqError) {
    return { status: error.code === 'PGQ_INVALID_OPTION' ? 400 : 503, message: error.message }
  }
  return {
    status: ASKED_WRONGLY.includes((error as { code?: string }).code ?? '') ? 400 : 500,
    message: `The database could not answer: ${error instanceof Error ? error.message : 'no reason given'}`,
  }
}
