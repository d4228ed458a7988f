import { type DeliveryModeName, sql } from '@pgq/core'

/** Which worker runs a job; hostname and pid are labels for people. */
export interface JobWorker {
  readonly id: number
  readonly hostname: string
  readonly pid: number
}

/** How a running job is delivered; at-most-once jobs are nowhere to be seen while they run. */
export type RunningMode = Exclude<DeliveryModeName, 'at-most-once'>

/** Its mode, from its lease. */
export const modeOfLease = sql`case when lease.transactional then 'transactional' else 'at-least-once' end`
