import { CompiledQuery, type Executor, type Outcome } from '@pgq/core'
import type { Transaction } from 'kysely'

/** Keeps what the handler wrote when it succeeds, and rolls its part of the test's transaction back when it does not. */
export async function insideSavepoint(trx: Transaction<any>, run: () => Promise<Outcome>): Promise<Outcome> {
  const send = (sql: string) => trx.executeQuery(CompiledQuery.raw(sql))
  try {
    await send('savepoint pgq_handler')
    const outcome = await run()
    if (outcome.type === 'success') {
      const spoiled = await send('release savepoint pgq_handler').then(() => undefined, spoiledBy)
      if (!spoiled) return outcome
      await send('rollback to savepoint pgq_handler')
      return { type: 'error', error: spoiled }
    }
    await send('rollback to savepoint pgq_handler')
    return outcome
  } catch (error) {
    return { type: 'error', error }
  }
}

/** Only an open Kysely transaction can be a handler's job.trx. */
export const isTransaction = (executor: Executor): executor is Transaction<any> =>
  'isTransaction' in executor && executor.isTransaction === true

const spoiledBy = (cause: unknown): Error => new Error(SPOILED, { cause })

const SPOILED =
  'A statement failed inside job.trx and the handler went on: nothing of it can be committed. Let the error through, or use a savepoint.'
