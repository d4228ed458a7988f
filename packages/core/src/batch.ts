import { type RawBuilder, sql } from 'kysely'
import { SEPARATOR } from './encode-args.js'
import type { Executor } from './executor.js'
import type { JobMeta } from './job.js'
import type { RetryPolicy } from './retry-policy.js'
import type { JobError } from './settlement.js'
import { defineStatement, type StatementParts } from './statement.js'

// A batch of jobs is a row of parallel arrays, as in a lease, and travels as a row of texts, whatever the client's type parsers are.

/** A job as it was claimed. The attempt that is about to run is counted already. */
export interface ClaimedJob {
  readonly id: string
  /** Its place in the lease, from 1. */
  readonly ordinal: number
  readonly position: number
  readonly priority: number
  readonly attempt: number
  readonly crashCount: number
  readonly queue: string
  readonly task: string
  readonly args: unknown
  /** The args as they are stored, whatever a handler does to its own. */
  readonly argsText: string
  /** What travels beside the args, such as a trace context. */
  readonly meta: JobMeta | null
  readonly retry: RetryPolicy | null
  readonly createdAt: Date
  readonly readyAt: Date
  /** Errors of earlier attempts. */
  readonly errors: readonly JobError[] | null
}

/** The lease that a claim makes. */
export interface LeaseRequest {
  readonly number: number
  /** Its jobs are finished in transactions on connections that hold the worker's liveness lock: see finishHeld. Default false. */
  readonly transactional?: boolean
}

/** How an array becomes a text. readBatch takes them apart. */
type Form = (array: RawBuilder<unknown>) => RawBuilder<unknown>

const plain: Form = (array) => sql`${array}::text`

/** JSON. When all jobs have the same, its one element counts for all. */
const shared: Form = (array) => sql`array_to_json(
  case when ${array} = array_fill(${array}[1], array[cardinality(${array})]) then ${array}[1:1] else ${array} end
)::text`

/** JSON texts with a control character in between, which JSON cannot hold; null is an empty one. */
const joined: Form = (array) => sql`array_to_string(${array}, ${sql.lit(SEPARATOR)}, '')`

/** The same of what few jobs have, empty when none has it: 0.1 us a job less for the three. */
const rare: Form = (array) =>
  sql`case when ${array}[1] is not null or array_to_string(${array}, '') <> '' then ${joined(array)} else '' end`

/** PostgreSQL's binary form, in hex: a timestamp as it is. */
const binary: Form = (array) => sql`encode(array_send(${array}), 'hex')`

/** Of each array, what of a removed row is in it, and its form. */
const COLUMNS = {
  ids: [sql`id`, plain],
  positions: [sql`position`, plain],
  priorities: [sql`priority`, shared],
  attempts: [sql`(attempt + 1)::smallint`, shared],
  crash_counts: [sql`crash_count`, shared],
  queues: [sql`queue`, shared],
  tasks: [sql`task`, shared],
  args: [sql`args`, joined],
  retries: [sql`retry`, rare],
  metas: [sql`meta`, rare],
  errors: [sql`errors`, rare],
  created_ats: [sql`created_at`, binary],
  ready_ats: [sql`ready_at`, binary],
} satisfies Record<string, [RawBuilder<unknown>, Form]>

type BatchRow = { readonly [Name in keyof typeof COLUMNS]: string }

const columns = Object.entries(COLUMNS)
const NAMES = sql.join(columns.map(([name]) => sql.id(name)))
const ARRAYS = sql.join(columns.map(([, [value]]) => sql`array_agg(${value})`))
const TEXTS = sql.join(columns.map(([name, [, form]]) => sql`${form(sql.id(name))} as ${sql.id(name)}`))

/** The arrays of a lease, each whole and in memory: every look into one that lies outside its row reads all of it. */
export const wholeArrays = sql.join(columns.map(([name]) => sql`lease.${sql.id(name)}[:] as ${sql.id(name)}`))

/** Moves the removed rows into a lease, and answers it as one row of texts. decided: those that have concurrency keys may run. */
export const leaseOf = (
  { table, param, routine }: StatementParts<LeaseRequest & { readonly workerId: number }>,
  removed: RawBuilder<unknown>,
  decided = false,
): RawBuilder<BatchRow> => sql`
  with claimed as (${removed})
  insert into ${table('leases')} (worker_id, number, transactional, undecided, ${NAMES})
  select
    ${param('workerId')}, ${param('number')}, coalesce(${param('transactional')}, false), ${decided ? sql`null` : locksOf(routine)},
    ${ARRAYS}
  from claimed
  having count(*) > 0
  returning ${TEXTS}`

const locksOf = (routine: StatementParts<object>['routine']) => {
  const key = sql`${routine('concurrency_key')}(meta)`
  return sql`array_agg(${routine('concurrency_lock')}(queue, ${key})) filter (where ${key} is not null)`
}

/** Answers the removed rows as one row of texts. */
export const batchOf = (removed: RawBuilder<unknown>): RawBuilder<BatchRow> => sql`
  with claimed as (${removed}),
  batch (${NAMES}) as (select ${ARRAYS} from claimed having count(*) > 0)
  select ${TEXTS} from batch`

/** Reads a lease back whose claim was sent but whose answer was lost; empty when the claim did not happen. */
export const readLease = defineClaim<{ readonly workerId: number; readonly number: number }>(
  'read_lease',
  ({ table, param }) => sql`
    select ${TEXTS} from ${table('leases')}
    where worker_id = ${param('workerId')} and number = ${param('number')} and ids <> '{}'`,
)

/**
 * Takes the number of a claim that may still be on its way: it fails when it comes, as a whole, and its jobs stay where they are. The
 * row is empty, and goes with its worker.
 */
export const fenceLease = defineStatement<{ readonly workerId: number; readonly number: number }, never>(
  'fence_lease',
  ({ table, param }) => sql`
    insert into ${table('leases')} (worker_id, number) values (${param('workerId')}, ${param('number')})
    on conflict do nothing`,
)

/** A statement that answers jobs. */
export function defineClaim<Request extends object>(
  name: string,
  write: (parts: StatementParts<Request>) => RawBuilder<BatchRow>,
) {
  const statement = defineStatement<Request, BatchRow>(name, write)
  return async (executor: Executor, schema: string, request: Request): Promise<ClaimedJob[]> =>
    readBatch(await statement(executor, schema, request))
}

/** Takes the texts apart, into jobs in the order of claiming (a DELETE answers in the order of storage). */
function readBatch(rows: BatchRow[]): ClaimedJob[] {
  // Out of the client's result: results outlive their use, and once they are in old memory they keep each other's rows from the collector. 110
  // bytes of each job stayed there until a full collection.
  const row = rows.pop()
  if (!row) return []
  const ids = row.ids.slice(1, -1).split(',')
  const positions: number[] = JSON.parse(`[${row.positions.slice(1, -1)}]`)
  const priorities = sharedOf<number>(row.priorities)
  const attempts = sharedOf<number>(row.attempts)
  const crashCounts = sharedOf<number>(row.crash_counts)
  const queues = sharedOf<string>(row.queues)
  const tasks = sharedOf<string>(row.tasks)
  const argsTexts = row.args.split(SEPARATOR)
  const args: unknown[] = JSON.parse(`[${argsTexts.join()}]`)
  const retries = rareOf<RetryPolicy>(row.retries)
  const metas = rareOf<JobMeta>(row.metas)
  const errors = rareOf<JobError[]>(row.errors)
  const createdAts = instantsOf(row.created_ats)
  const readyAts = instantsOf(row.ready_ats)
  const jobs = ids.map(
    (id, index): ClaimedJob => ({
      id,
      ordinal: index + 1,
      position: positions[index]!,
      priority: priorities(index),
      attempt: attempts(index),
      crashCount: crashCounts(index),
      queue: queues(index),
      task: tasks(index),
      args: args[index],
      argsText: argsTexts[index]!,
      meta: metas(index),
      retry: retries(index),
      createdAt: createdAts(index),
      readyAt: readyAts(index),
      errors: errors(index),
    }),
  )
  return jobs.sort((a, b) => b.priority - a.priority || a.position - b.position)
}

/** Reads a JSON array whose only element counts for all. */
function sharedOf<Value>(json: string): (index: number) => Value {
  const values: Value[] = JSON.parse(json)
  return (index) => (values.length === 1 ? values[0]! : values[index]!)
}

/** Reads JSON texts of which most are empty, or equal to the one before, as of jobs of one call: these share a frozen value. */
function rareOf<Value>(texts: string): (index: number) => Value | null {
  if (texts === '') return () => null
  let last: string | undefined
  let value: Value | null = null
  const values = texts.split(SEPARATOR).map((text) => {
    if (text !== last) value = text === '' ? null : Object.freeze(JSON.parse(text))
    last = text
    return value
  })
  return (index) => values[index]!
}

/** 2000-01-01, from which PostgreSQL counts its microseconds. */
const EPOCH_MS = Date.UTC(2000)

/** Reads an array of timestamps: 20 bytes about the array; then the length of each, four bytes, and its eight. */
function instantsOf(hex: string): (index: number) => Date {
  const bytes = Buffer.from(hex, 'hex')
  return (index) => {
    const at = 24 + index * 12
    return new Date(EPOCH_MS + (bytes.readInt32BE(at) * 2 ** 32 + bytes.readUInt32BE(at + 4)) / 1_000)
  }
}
