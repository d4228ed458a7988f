import { sql } from 'kysely'
import { type ClaimedJob, defineClaim, type LeaseRequest, leaseOf } from './batch.js'
import { InvalidOptionError } from './errors.js'
import type { Executor } from './executor.js'
import type { DeliveryModeName, Job, JobMeta } from './job.js'
import { checkName } from './names.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'
import { oneByOne, returnOf } from './settle.js'
import { defineStatement, type StatementParts } from './statement.js'

// Jobs that share a concurrency key carry it in their meta. They are claimed as all others are. Then refuse_jobs decides, under a lock of the
// key, which of a new lease may run: those are held by a row of concurrency_holds for as long as they are in the lease, and the others are
// parked, outside of what claims look at. Whoever ends one takes the next one of its key from there.

/** How many jobs may run at the same time, of those in a queue that share a key. */
export interface ConcurrencyOptions {
  /** 1 to 200 characters. Jobs of one queue with the same key share it, whatever their tasks. */
  readonly key: string
  /** 1 to 10,000. Default 1: one after the other, in the order of claiming. Where jobs of a key differ, the next in line decides. */
  readonly max?: number
}

const OPTIONS = optionNames<ConcurrencyOptions>({ key: true, max: true })

const MOST = 10_000

/** Throws InvalidOptionError. */
export function checkConcurrency(concurrency: ConcurrencyOptions, where: string): void {
  checkOptionNames(concurrency, OPTIONS, `${where}: concurrency`)
  const { key, max = 1 } = concurrency
  checkName(key, 'key')
  if (!(Number.isInteger(max) && max >= 1 && max <= MOST)) {
    throw new InvalidOptionError(`${where}: concurrency.max is ${shown(max)}; use a whole number from 1 to ${MOST}.`)
  }
}

/** Why an at-most-once job cannot share a key. */
export const AT_MOST_ONCE_UNCOUNTED =
  'an at-most-once job leaves nothing in the database while it runs, so nobody could count it: it cannot have concurrency.'

/** Refuses one that does: enqueued by name or from SQL, where nobody knows the mode. Throws InvalidOptionError. */
export function checkUncounted(task: { readonly mode: DeliveryModeName }, job: Pick<Job, 'meta'>): void {
  if (task.mode === 'at-most-once' && job.meta.concurrencyKey) {
    throw new InvalidOptionError(`It was not run: ${AT_MOST_ONCE_UNCOUNTED}`)
  }
}

/** What a job carries that shares a key; see concurrency_key and concurrency_max in the migration. */
export const concurrencyMeta = ({ key, max = 1 }: ConcurrencyOptions): JobMeta => ({
  concurrencyKey: key,
  concurrencyMax: String(max),
})

/** A key, and the queue that it counts in. */
export interface ConcurrencyPlace {
  readonly queue: string
  readonly key: string
}

/** Where a job shares a key, if it does. */
export function concurrencyOf({ queue, meta }: Pick<ClaimedJob, 'queue' | 'meta'>): ConcurrencyPlace | undefined {
  const key = meta?.concurrencyKey
  return key ? { queue, key: String(key) } : undefined
}

/** A new lease. */
interface LeaseName {
  readonly workerId: number
  readonly number: number
}

/**
 * Parks those jobs of a new lease that have to wait for others of their concurrency key: at once, so whoever ends one of those finds them.
 * Answers which jobs of the lease, by their ordinals, are not to run. Asked again after an answer that was lost, it answers the same.
 */
export async function parkRefusedJobs(executor: Executor, schema: string, lease: LeaseName): Promise<Set<number>> {
  const rows = await parkStatement(executor, schema, lease)
  return new Set(rows.map(({ ordinal }) => ordinal))
}

/** The same, but leaves the lease as it is: those jobs are to go back one by one, where the database refuses to write one of them. */
export async function refuseJobs(executor: Executor, schema: string, lease: LeaseName): Promise<Set<number>> {
  const rows = await refuseStatement(executor, schema, lease)
  return new Set(rows.map(({ ordinal }) => ordinal))
}

const refuseStatement = defineStatement<LeaseName, { ordinal: number }>(
  'refuse_jobs',
  ({ table, param, routine }) => sql`
    with refused as materialized (
      select ${routine('refuse_jobs')}(${param('workerId')}::integer, ${param('number')}::bigint) as ordinal
    ), decided as (
      update ${table('leases')} set undecided = null
      where worker_id = ${param('workerId')} and number = ${param('number')} and (select count(*) from refused) >= 0
    )
    select ordinal from refused`,
)

const parkStatement = defineStatement<LeaseName, { ordinal: number }>(
  'park_refused_jobs',
  (parts) => sql`
    ${returnOf(
      parts,
      sql`
        select ${parts.param('number')}::bigint as number, ordinal, 'park' as kind, null::smallint as attempt,
          null::double precision as "delayMs", null::text as reason, null::json as error
        from ${parts.routine('refuse_jobs')}(${parts.param('workerId')}::integer, ${parts.param('number')}::bigint) as ordinal`,
    )}, decided as (
      update ${parts.table('leases')} set undecided = null
      where worker_id = ${parts.param('workerId')} and number = ${parts.param('number')} and not exists (select from returned)
    )
    select unnest(coalesce(lease.done, earlier.done)) as ordinal
    from ${parts.table('leases')} as earlier left join lease on lease.number = earlier.number
    where earlier.worker_id = ${parts.param('workerId')} and earlier.number = ${parts.param('number')}`,
)

/** Whose parked jobs: those of these places that this worker can run. */
export interface ParkedRequest {
  readonly workerId: number
  readonly places: readonly ConcurrencyPlace[]
  readonly tasks: readonly string[]
  /** All that the worker can run, in other modes, too: one of those that comes before keeps its turn. */
  readonly knownTasks: readonly string[]
  readonly limit: number
  /** As of a ClaimRequest. */
  readonly maxBytes: number
}

/** Moves parked jobs that may run by now into a lease, as claimIntoLease does, the first ones of each place. */
export const claimParkedIntoLease = (
  executor: Executor,
  schema: string,
  { places, ...request }: ParkedRequest & LeaseRequest,
): Promise<ClaimedJob[]> =>
  claimParked(executor, schema, {
    ...request,
    queues: places.map(({ queue }) => queue),
    keys: places.map(({ key }) => key),
  })

type ParkedColumns = Omit<ParkedRequest, 'places'> &
  LeaseRequest & { readonly queues: readonly string[]; readonly keys: readonly string[] }

const claimParked = defineClaim<ParkedColumns>('claim_parked_into_lease', (parts) =>
  leaseOf(parts, removeParked(parts), true),
)

/** As a claim of other jobs, the worker's own row keeps one that is being declared dead from claiming. */
const removeParked = ({ table, routine, param }: StatementParts<ParkedColumns>) => sql`
  delete from ${table('jobs')}
  where ctid = any ((
    select ${routine('take_parked_jobs')}(
      ${param('workerId')}::integer, ${param('number')}::bigint, ${param('queues')}::text[], ${param('keys')}::text[],
      ${param('tasks')}::text[], ${param('knownTasks')}::text[], ${param('limit')}::integer,
      ${param('maxBytes')}::bigint
    )
    from (select from ${table('workers')} where id = ${param('workerId')} for key share) as claimer
  )::tid[])
  returning *`

/** The condition that what \`held\` names runs, or is about to. */
const counts = ({ table }: Pick<StatementParts<object>, 'table'>) => sql`
  exists (
    select from ${table('leases')} as lease
    where lease.worker_id = held.worker_id and lease.number = held.number
      and held.job_id = any (lease.ids) and array_position(lease.ids, held.job_id) <> all (lease.done)
      and not (lease.transactional and exists (
        select from ${table('finished_jobs')} as finished
        where finished.worker_id = lease.worker_id and finished.number = lease.number
          and finished.ordinal = array_position(lease.ids, held.job_id)
      ))
    ${oneByOne}
  )`

/** Removes rows of concurrency_holds that do not count, of at most 100 keys: what workers left that were lost. The others remove their own. */
export const forgetHolds = defineStatement<object, never>(
  'forget_holds',
  (parts) => sql`
    select ${parts.routine('lock_concurrency_key')}(stale.queue, stale.key)
    from (
      select distinct held.queue, held.key from ${parts.table('concurrency_holds')} as held
      where not ${counts(parts)}
      order by held.queue, held.key
      limit 100
    ) as stale`,
)

/** The most places that one look goes through. */
const PLACES_A_LOOK = 1_000

/**
 * Looks through the places with parked jobs behind a place, and answers those in these queues of which fewer run than may: nobody has taken the
 * next one, as after a crash. And the place that the next look goes on behind, when there may be more, as last.
 */
export const findFreePlaces = defineStatement<
  ConcurrencyPlace & { readonly queues: readonly string[] },
  ConcurrencyPlace & { free: boolean; last: boolean }
>('find_free_places', (parts) => {
  const { table, param, routine } = parts
  const next = (queue: ReturnType<typeof sql>, key: ReturnType<typeof sql>) => sql`
    select job.queue, ${routine('concurrency_key')}(job.meta) as key, ${routine('concurrency_max')}(job.meta) as max
    from ${table('jobs')} as job
    where job.execute_at = 'infinity' and (job.queue, ${routine('concurrency_key')}(job.meta)) > (${queue}, ${key})
    order by job.queue, ${routine('concurrency_key')}(job.meta), (job.position - (job.priority::bigint << 47))
    limit 1`
  return sql`
    with recursive place as (
      (${next(param('queue'), param('key'))})
      union all
      select next.* from place cross join lateral (${next(sql`place.queue`, sql`place.key`)}) as next
    ), seen as materialized (
      select place.*, row_number() over () as nth from place limit ${sql.lit(PLACES_A_LOOK)}
    ), judged as (
      select seen.queue, seen.key, seen.nth, seen.queue = any (${param('queues')}::text[]) and seen.max > (
        select count(*) from ${table('concurrency_holds')} as held
        where held.queue = seen.queue and held.key = seen.key and ${counts(parts)}
      ) as free
      from seen
    )
    select queue, key, free, nth = ${sql.lit(PLACES_A_LOOK)} as last
    from judged where free or nth = ${sql.lit(PLACES_A_LOOK)}`
})
