import { describe } from 'vitest'
import { argsBehaviour } from './args-behaviour.js'
import { failureBehaviour } from './failure-behaviour.js'
import type { Harness } from './harness.js'
import { jobBehaviour } from './job-behaviour.js'
import { orderBehaviour } from './order-behaviour.js'
import { retryBehaviour } from './retry-behaviour.js'
import { runOnceBehaviour } from './run-once-behaviour.js'

/** What every delivery mode promises, of a worker and of an eager queue alike. */
export function describeDelivery(name: string, harness: Harness): void {
  describe(name, () => {
    describe('args', () => argsBehaviour(harness))
    describe('order and time', () => orderBehaviour(harness))
    describe('the job', () => jobBehaviour(harness))
    describe('failures', () => failureBehaviour(harness))
    if (harness.mode === 'at-most-once') describe('one run only', () => runOnceBehaviour(harness))
    else describe('retries', () => retryBehaviour(harness))
  })
}
