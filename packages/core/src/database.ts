import type { ColumnType } from 'kysely'

// bigint columns are strings in JavaScript: their values can exceed what a number holds.
type BigInt8 = ColumnType<string, string | number | bigint, string>
type Stamp = ColumnType<Date, Date | string, Date | string>
type Json = ColumnType<unknown, string, string>
type JsonArray = ColumnType<unknown[], string[], string[]>

// Kysely's own Generated does not look into a ColumnType: rows would have that type itself in place of what it stands for.
type Generated<Type> =
  Type extends ColumnType<infer Select, infer Insert, infer Update>
    ? ColumnType<Select, Insert | undefined, Update>
    : ColumnType<Type, Type | undefined, Type>

/** What a job takes along from table to table. */
interface JobColumns {
  created_at: Generated<Stamp>
  ready_at: Generated<Stamp>
  priority: Generated<number>
  attempt: Generated<number>
  crash_count: Generated<number>
  queue: Generated<string>
  task: string
  args: Generated<Json>
  retry: Json | null
  meta: Json | null
  errors: Json | null
}

/** What waits: ready when execute_at is null, else for its time. */
export interface JobsTable extends JobColumns {
  id: Generated<BigInt8>
  position: Generated<BigInt8>
  execute_at: Stamp | null
}

/** One row per start of a worker. */
export interface WorkersTable {
  id: Generated<number>
  hostname: Generated<string>
  pid: Generated<number>
  queues: Generated<string[]>
  tasks: Generated<string[]>
  started_at: Generated<Stamp>
  beat_at: Generated<Stamp>
  epoch: Generated<Stamp>
  locks: Generated<boolean>
  listens: Generated<boolean>
  lease_ms: Generated<number>
  alone: Generated<boolean>
}

/** What runs: a claimed batch as parallel arrays; `done` holds settled places, from 1. */
export interface LeasesTable {
  worker_id: number
  number: BigInt8
  claimed_at: Generated<Stamp>
  transactional: Generated<boolean>
  undecided: number[] | null
  done: Generated<number[]>
  ids: Generated<string[]>
  positions: Generated<string[]>
  created_ats: Generated<Date[]>
  ready_ats: Generated<Date[]>
  priorities: Generated<number[]>
  attempts: Generated<number[]>
  crash_counts: Generated<number[]>
  queues: Generated<string[]>
  tasks: Generated<string[]>
  args: Generated<JsonArray>
  retries: Generated<JsonArray>
  metas: Generated<JsonArray>
  errors: Generated<JsonArray>
}

/** Jobs finished inside a transaction of their handler. */
export interface FinishedJobsTable {
  worker_id: number
  number: BigInt8
  ordinal: number
}

/** Why a job is dead: attempts used up, failed for good, cancelled, or its workers were lost too often. */
export type DeadReason = 'exhausted' | 'failed' | 'cancelled' | 'crashed'

/** Dead letters. */
export interface DeadJobsTable extends JobColumns {
  id: BigInt8
  died_at: Generated<Stamp>
  reason: Generated<DeadReason>
}

/** What was decided about a queue; one without a row runs. */
export interface QueuesTable {
  name: string
  paused_at: Stamp | null
}

/** Running jobs that were asked to end. */
export interface CancellationsTable {
  job_id: BigInt8
  requested_at: Generated<Stamp>
}

/** How jobs ended, counted by what grain says, queue and task; histograms as buckets and the counts of each. */
export interface JobStatsTable {
  id: Generated<BigInt8>
  begun_at: Generated<Stamp>
  grain: Generated<'part' | 'minute' | 'five minutes' | 'hour'>
  queue: string
  task: string
  completed: Generated<number>
  retried: Generated<number>
  snoozed: Generated<number>
  exhausted: Generated<number>
  failed: Generated<number>
  cancelled: Generated<number>
  crashed: Generated<number>
  lost: Generated<number>
  wait_buckets: Generated<number[]>
  wait_counts: Generated<number[]>
  run_buckets: Generated<number[]>
  run_counts: Generated<number[]>
}

/** Keys of unique jobs; see enqueue's option unique. */
export interface JobKeysTable {
  task: string
  key: string
  job_id: BigInt8 | null
  held_until: Stamp | null
}

/** Which jobs of a concurrency key run: a row counts while its job is in that lease and not done. */
export interface ConcurrencyHoldsTable {
  queue: string
  key: string
  job_id: BigInt8
  worker_id: number
  number: BigInt8
}

/** What workers enqueue again and again; next_at is infinity when there is no next slot. */
export interface SchedulesTable {
  name: string
  task: string
  args: Generated<Json>
  queue: Generated<string>
  priority: Generated<number>
  retry: Json | null
  meta: Json | null
  cron: string | null
  every_ms: BigInt8 | null
  time_zone: Generated<string>
  catch_up: Generated<'skip' | 'one' | 'all'>
  next_at: Stamp
  paused_at: Stamp | null
  last_at: Stamp | null
  last_job_id: BigInt8 | null
  failed_at: Stamp | null
  error: string | null
}

/** Workers with nothing to do, and the channels that wake them. */
export interface IdleWorkersTable {
  worker_id: number
  channel: string
  queues: string[]
  tasks: Generated<string[]>
}

/** Every job, wherever it is (a view). */
export interface JobStatesView {
  id: BigInt8
  queue: string
  task: string
  state: JobState
  priority: number
  attempt: number
  crash_count: number
  created_at: Stamp
  execute_at: Stamp
  worker_id: number | null
  since: Stamp | null
  args: Json
  errors: Json | null
}

/** ready: may run now; scheduled: waits for its time; running: held by a worker; dead: a dead letter. */
export type JobState = 'ready' | 'scheduled' | 'parked' | 'running' | 'dead'

/** Jobs by queue, task and state (a view). */
export interface QueueCountsView {
  queue: string
  task: string
  state: JobState
  jobs: BigInt8
  oldest: Stamp
}

/** The tables and views of one pgq schema, for Kysely: `new Kysely<PgqDatabase>(...).withSchema('pgq')`. */
export interface PgqDatabase {
  jobs: JobsTable
  workers: WorkersTable
  leases: LeasesTable
  finished_jobs: FinishedJobsTable
  dead_jobs: DeadJobsTable
  queues: QueuesTable
  cancellations: CancellationsTable
  job_stats: JobStatsTable
  job_keys: JobKeysTable
  concurrency_holds: ConcurrencyHoldsTable
  schedules: SchedulesTable
  idle_workers: IdleWorkersTable
  job_states: JobStatesView
  queue_counts: QueueCountsView
}
