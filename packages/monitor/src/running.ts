import { type DeliveryModeName, type PgqDatabase, type RawBuilder, sql } from '@pgq/core'

interface Tables {
  table(name: keyof PgqDatabase): RawBuilder<unknown>
}

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

/**
 * The condition that the place `ordinal` of `lease` still runs: neither acknowledged, nor returned, nor finished. Name the ordinal
 * with its table: inside the subquery a bare one would be that of finished_jobs.
 */
export const isUnsettled = ({ table }: Tables, ordinal: RawBuilder<unknown>): RawBuilder<unknown> => sql`
  ${ordinal} <> all (lease.done) and not exists (
    select from ${table('finished_jobs')} as finished
    where finished.worker_id = lease.worker_id and finished.number = lease.number and finished.ordinal = ${ordinal}
  )`
