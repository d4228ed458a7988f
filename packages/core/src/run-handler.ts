import { checkUncounted } from './concurrency.js'
import type { Job } from './job.js'
import { isDecision, type Outcome } from './outcome.js'
import { readThrown } from './read-thrown.js'
import type { Handler } from './task.js'

/**
 * Runs a handler once: validates the args, calls it, and turns whatever comes back or is thrown into an outcome. Never
 * throws. Args that the schema refuses end the job for good: they will not get better. A job that cannot share its concurrency key is not run.
 */
export async function runHandler(handler: Handler, args: unknown, job: Job): Promise<Outcome> {
  // Until then: what the handler enqueues may be refused as well, and is an error like any other.
  let parsing = true
  try {
    checkUncounted(handler.task, job)
    const parsed = handler.task.parse(args)
    const ready = parsed instanceof Promise ? await parsed : parsed
    parsing = false
    const returned = handler.run(ready, job)
    // To await nothing would make two promises, where a job has three in all.
    const result = returned === undefined ? undefined : await returned
    return isDecision(result) ? result.outcome : SUCCESS
  } catch (error) {
    if (isDecision(error)) return error.outcome
    return { type: parsing && refusesArgs(error) ? 'fail' : 'error', error }
  }
}

// The code instead of instanceof: the task may be from the CJS build of this package, and this the ESM build.
const refusesArgs = (error: unknown): boolean => readThrown(error, 'code') === 'PGQ_INVALID_ARGS'

const SUCCESS: Outcome = Object.freeze({ type: 'success' })
