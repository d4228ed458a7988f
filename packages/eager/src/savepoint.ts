import { CompiledQuery, type Executor, InvalidOptionError, type Outcome } from '@pgq/core'
import type { Transaction } from 'kysely'

/** Keeps what the handler wrote when it succeeds, and rolls its part of the test's transaction back when it does not. */
export async function insideSavepoint(trx: Transaction<any>, run: () => Promise<Outcome>): Promise<Outcome> {
  const send = async (sql: string) => trx.executeQuery(CompiledQuery.raw(sql))
  try {
    await send('savepoint pgq_handler').catch(throwEnded)
    const outcome = await run()
    const refusal = outcome.type === 'success' ? await refusalOf(send) : undefined
    if (outcome.type === 'success' && !refusal) {
      await send('release savepoint pgq_handler')
      return outcome
    }
    await send('rollback to savepoint pgq_handler')
    return refusal ?? outcome
  } catch (error) {
    return { type: 'error', error }
  }
}

/**
 * Why a commit would fail now. Deferred constraints are checked, and that is undone again: they are still deferred for what the test does
 * later, and those that are not deferred by themselves stay as they are, which `set constraints all deferred` would change.
 */
async function refusalOf(send: (sql: string) => Promise<unknown>): Promise<Outcome | undefined> {
  try {
    await send('savepoint pgq_commit')
  } catch (cause) {
    return { type: 'error', error: new Error(SPOILED, { cause }) }
  }
  try {
    await send('set constraints all immediate')
  } catch (error) {
    return { type: 'error', error }
  }
  await send('rollback to savepoint pgq_commit')
  return undefined
}

/** Kysely's own words: what it knows of the transaction of a callback it tells in no other way. */
function throwEnded(error: unknown): never {
  if (!/^Transaction is already (committed|rolled back)$/.test((error as Error).message)) throw error
  throw new InvalidOptionError(
    'job.trx: the transaction that enqueued this job has ended before it ran. Open one in the test, and attach it: queue.attach(trx).',
  )
}

/** Only an open Kysely transaction can be a handler's job.trx. */
export const isTransaction = (executor: Executor): executor is Transaction<any> =>
  'isTransaction' in executor && executor.isTransaction === true

const SPOILED =
  'A statement failed inside job.trx and the handler went on: nothing of it can be committed. Let the error through, or use a savepoint.'
