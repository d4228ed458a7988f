import { type RawBuilder, sql } from 'kysely'
import { batchOf, defineClaim, type LeaseRequest, leaseOf } from './batch.js'
import { type ClaimRequest, jobRank, SUSPECT_CRASHES } from './claim.js'
import type { Executor } from './executor.js'
import { isNotPaused } from './queues.js'
import { defineStatement, type StatementParts } from './statement.js'

// Suspects are ready jobs that were held by SUSPECT_CRASHES lost workers: a poison job, and all that stood beside it both times.
// A worker runs them one at a time, with nothing beside them. So the next crash tells the cause, and no other job is ever
// among the dead letters for it.

/** Whose suspects: those that this worker can run. */
export type SuspectRequest = Pick<ClaimRequest, 'workerId' | 'queues' | 'tasks'>

/**
 * Whether this worker shall run suspects alone: more of them wait than other workers have been told to. Tells the others, so that
 * not all of them stop for one job; two that ask at once may both be told to. Without suspects, or when it declines, it joins the
 * others again.
 */
export async function goAlone(
  executor: Executor,
  schema: string,
  request: SuspectRequest & { readonly declines?: boolean },
): Promise<boolean> {
  const [row] = await goAloneStatement(executor, schema, { declines: false, ...request })
  return row?.alone ?? false
}

/** More suspects than this are as good as this many. */
const MOST_COUNTED = 100

const goAloneStatement = defineStatement<SuspectRequest & { declines: boolean }, { alone: boolean }>(
  'go_alone',
  (parts) => {
    const { table, param } = parts
    return sql`
    with wanted as materialized (
      select (
        select count(*) from (${suspects(parts, MOST_COUNTED)}) as suspect
      ) > (
        select count(*) from ${table('workers')} as other
        where other.alone and other.id <> ${param('workerId')}
          and other.queues && ${param('queues')}::text[] and other.tasks && ${param('tasks')}::text[]
      ) and not ${param('declines')} as alone
    )
    update ${table('workers')} as worker set alone = wanted.alone
    from wanted
    where worker.id = ${param('workerId')} and (worker.alone or wanted.alone)
    returning worker.alone`
  },
)

/** Moves one suspect into a lease of its own, as claimIntoLease does. Claim it while the worker holds nothing else. */
export const claimSuspectIntoLease = defineClaim<SuspectRequest & LeaseRequest>('claim_suspect_into_lease', (parts) =>
  leaseOf(parts, removeSuspect(parts)),
)

/** Removes one suspect and answers it, as claimAndDelete does. Claim it while the worker holds nothing else. */
export const claimSuspectAndDelete = defineClaim<SuspectRequest>('claim_suspect_and_delete', (parts) =>
  batchOf(removeSuspect(parts)),
)

/** As a claim of other jobs, the worker's own row keeps one that is being declared dead from claiming. */
const removeSuspect = (parts: StatementParts<SuspectRequest>): RawBuilder<unknown> => sql`
  delete from ${parts.table('jobs')}
  where ctid = any (array(
    select suspect.ctid
    from (select from ${parts.table('workers')} where id = ${parts.param('workerId')} for key share) as claimer,
      lateral (${suspects(parts, 1, sql`for update skip locked`)}) as suspect
    limit 1
  ))
  returning *`

/**
 * The first suspects of each queue that is not paused, those of the fewest crashes first: a poison job that has crashed alone waits
 * for its neighbours. Their index is the only one that has this order, so the plan cannot be another: it holds nothing else.
 */
const suspects = (
  { table, param }: StatementParts<SuspectRequest>,
  limit: number,
  lock: RawBuilder<unknown> = sql``,
): RawBuilder<unknown> => sql`
  select found.ctid
  from unnest(${param('queues')}::text[]) as wanted (queue)
  cross join lateral (
    select job.ctid
    from ${table('jobs')} as job
    where job.queue = wanted.queue and job.execute_at is null and job.crash_count >= ${sql.lit(SUSPECT_CRASHES)}
      and job.task = any (${param('tasks')}::text[])
    order by job.crash_count, ${jobRank}
    limit ${sql.lit(limit)}
    ${lock}
  ) as found
  where ${isNotPaused({ table }, sql`wanted.queue`)}`
