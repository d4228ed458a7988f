import { type RawBuilder, sql } from 'kysely'
import { LostLeaseError } from './errors.js'
import type { Executor } from './executor.js'
import { defineStatement, type StatementParts } from './statement.js'

// The end of a job as a part of a transaction: a row of finished_jobs, which its lease takes along when it goes.

/** A claimed job, named by its claim's token and its place in it. */
export interface LeasePlace {
  readonly workerId: number
  readonly number: number
  readonly ordinal: number
}

/**
 * Completes one leased job as a part of the caller's transaction. Its lease is locked until that transaction ends, so
 * the job cannot be given away while its fate is open. Throws LostLeaseError when the lease is gone or the job is settled.
 */
export async function finishInTransaction(
  executor: Executor,
  schema: string,
  place: LeasePlace,
  jobId: string,
): Promise<void> {
  const rows = await finishStatement(executor, schema, { ...place, jobId })
  if (rows.length === 0) throw new LostLeaseError(jobId)
}

const finishStatement = defineStatement<LeasePlace & { jobId: string }, { finished: number }>(
  'finish_in_transaction',
  (parts) => sql`select 1 as finished where ${finishJob(parts)}`,
)

/** See finish_job in the migration. */
const finishJob = ({ routine, param }: StatementParts<LeasePlace & { jobId: string }>) => sql`
  ${routine('finish_job')}(
    ${param('workerId')}::integer, ${param('number')}::bigint, ${param('ordinal')}::smallint, ${param('jobId')}::bigint
  )`

/**
 * Completes jobs of transactional leases as a part of their transaction. No look at the lease, and no lock on it: the look costs 40 us
 * when its plan is old, the lock 30, and jobs of one lease commit at the same time. What it relies on instead is its session, which
 * holds the worker's liveness lock: a rescue takes the lease only when no such session is left, and a server that forgot the claim in
 * a crash has ended them all. A session that was opened after the claim asks first, once for each job: holdsLease.
 */
export async function finishHeld(executor: Executor, schema: string, places: readonly LeasePlace[]): Promise<void> {
  await finishHeldStatement(executor, schema, columnsOf(places))
}

const finishHeldStatement = defineStatement<PlaceColumns, never>(
  'finish_held',
  (parts) => sql`
    insert into ${parts.table('finished_jobs')} (worker_id, number, ordinal) select * from ${unnestPlaces(parts)}`,
)

/** Places as parallel arrays. */
interface PlaceColumns {
  readonly workerIds: readonly number[]
  readonly numbers: readonly number[]
  readonly ordinals: readonly number[]
}

const columnsOf = (places: readonly LeasePlace[]): PlaceColumns => ({
  workerIds: places.map(({ workerId }) => workerId),
  numbers: places.map(({ number }) => number),
  ordinals: places.map(({ ordinal }) => ordinal),
})

const unnestPlaces = ({ param }: StatementParts<PlaceColumns>) =>
  sql`unnest(${param('workerIds')}::integer[], ${param('numbers')}::bigint[], ${param('ordinals')}::smallint[])`

/**
 * Whether a lease is still the worker's. Ask in a session that holds the worker's liveness lock: it stays so while that lives. With a lock
 * on the row, which a server that cannot write refuses (SQLSTATE 25006): a standby may know nothing of the lease yet.
 */
export async function holdsLease(
  executor: Executor,
  schema: string,
  lease: Pick<LeasePlace, 'workerId' | 'number'>,
): Promise<boolean> {
  return (await holdsLeaseStatement(executor, schema, lease)).length > 0
}

const holdsLeaseStatement = defineStatement<Pick<LeasePlace, 'workerId' | 'number'>, { number: string }>(
  'holds_lease',
  ({ table, param }) => sql`
    select number from ${table('leases')} where worker_id = ${param('workerId')} and number = ${param('number')} for key share`,
)

/**
 * As finishHeld, one job, where no lock tells whether a session lives: the lease is locked, as by finishInTransaction. When it is gone
 * the transaction fails, with a row that has no number (SQLSTATE 23502): its COMMIT may be on the way already.
 */
export async function finishLocked(
  executor: Executor,
  schema: string,
  place: LeasePlace,
  jobId: string,
): Promise<void> {
  await finishLockedStatement(executor, schema, { ...place, jobId })
}

const finishLockedStatement = defineStatement<LeasePlace & { jobId: string }, never>(
  'finish_locked',
  (parts) => sql`
    insert into ${parts.table('finished_jobs')} (worker_id)
    select ${parts.param('workerId')}::integer where not ${finishJob(parts)}`,
)

/** What became of the transaction in which a leased job was finished. */
export async function finishState(
  executor: Executor,
  schema: string,
  place: LeasePlace,
  jobId: string,
): Promise<'committed' | 'open' | 'rolled back'> {
  const [finish] = await isFinishOpenStatement(executor, schema, { jobId })
  if (finish!.open) return 'open'
  const [isFinished] = await areFinished(executor, schema, [place])
  return isFinished ? 'committed' : 'rolled back'
}

/** By the lock that finish_job holds until its transaction ends. Jobs that share a key wait for each other. */
const isFinishOpenStatement = defineStatement<{ jobId: string }, { open: boolean }>(
  'is_finish_open',
  ({ schemaName, param }) => sql`
    select not pg_try_advisory_xact_lock(
      (${schemaName} || '.finished_jobs')::regclass::oid::integer, (${param('jobId')}::bigint % 2147483647)::integer
    ) as open`,
)

/** Whether the transactions that finished these places have committed, in the order of the places. */
export async function areFinished(
  executor: Executor,
  schema: string,
  places: readonly LeasePlace[],
): Promise<boolean[]> {
  const rows = await areFinishedStatement(executor, schema, columnsOf(places))
  const finished = new Set(rows.map(({ place }) => Number(place)))
  return places.map((_, index) => finished.has(index + 1))
}

const areFinishedStatement = defineStatement<PlaceColumns, { place: string }>(
  'are_finished',
  (parts) => sql`
    select place
    from ${unnestPlaces(parts)} with ordinality as asked (worker_id, number, ordinal, place)
    where exists (
      select from ${parts.table('finished_jobs')} as finished
      where finished.worker_id = asked.worker_id and finished.number = asked.number and finished.ordinal = asked.ordinal
    )`,
)

/**
 * The condition that the place `ordinal` of `lease` still runs: neither acknowledged, nor returned, nor finished. Name the ordinal
 * with its table: inside the subquery a bare one would be that of finished_jobs.
 */
export const isUnsettled = (
  { table }: Pick<StatementParts<object>, 'table'>,
  ordinal: RawBuilder<unknown>,
): RawBuilder<unknown> => sql`
  ${ordinal} <> all (lease.done) and not exists (
    select from ${table('finished_jobs')} as finished
    where finished.worker_id = lease.worker_id and finished.number = lease.number and finished.ordinal = ${ordinal}
  )`
