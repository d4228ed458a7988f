import { type RawBuilder, sql } from 'kysely'
import { ringDoorbell } from './doorbell.js'
import { SEPARATOR } from './encode-args.js'
import { InvalidOptionError } from './errors.js'
import { type Executor, sqlStateOf } from './executor.js'
import type { JobMeta } from './job.js'
import { isPool, prepared } from './prepared.js'
import type { RetryPolicy } from './retry-policy.js'
import { defineStatement, type StatementParts } from './statement.js'
import type { UniqueOptions } from './unique.js'

/** A job about to be written: args as JSON text. */
export interface NewJob {
  readonly queue: string
  readonly task: string
  readonly args: string
  readonly priority: number
  readonly executeAt?: Date | undefined
  readonly delayMs?: number | undefined
  readonly retry?: RetryPolicy | undefined
  readonly unique?: UniqueOptions | undefined
  /** What travels beside the args; see aroundEnqueue. */
  readonly meta?: JobMeta | undefined
}

/**
 * What became of an enqueue call. Never null; `status` tells the cases apart:
 * - inserted: a new job, with this id.
 * - duplicate: nothing was enqueued; the job of this id has the key, or had it last.
 * - replaced: the job of this id, which waits, is what was enqueued now.
 */
export interface EnqueueResult {
  readonly status: 'inserted' | 'duplicate' | 'replaced'
  readonly id: string
}

/** Writes jobs, all or none, together with whatever else waits for the same executor. */
export function writeJobs(executor: Executor, schema: string, jobs: readonly NewJob[]): Promise<EnqueueResult[]> {
  const hasKeys = jobs.some(({ unique }) => unique)
  const line = lineOf(executor, schema, hasKeys)
  return new Promise((resolve, reject) => {
    line.waiting.push({ jobs, length: lengthOf(jobs), hasKeys, resolve, reject })
    if (!line.flushing) void flush(executor, schema, line)
  })
}

interface Call {
  readonly jobs: readonly NewJob[]
  readonly length: number
  /** Some of its jobs are unique: they are written by another statement. */
  readonly hasKeys: boolean
  readonly resolve: (results: EnqueueResult[]) => void
  readonly reject: (error: unknown) => void
}

/** The calls of one executor, in line: one statement at a time is under way, the next takes what came meanwhile. */
interface Line {
  flushing: boolean
  waiting: Call[]
  readonly doorbell: Doorbell
}

const lines = new WeakMap<object, Map<string, Line>>()

/** Keys may be locked for as long as somebody's transaction takes: where there are more connections, all other jobs go past them. */
function lineOf(executor: Executor, schema: string, hasKeys: boolean): Line {
  const name = hasKeys && isPool(executor) ? `${schema} unique` : schema
  const known = lines.get(executor)?.get(name)
  if (known) return known
  const line: Line = { flushing: false, waiting: [], doorbell: new Doorbell() }
  lines.set(executor, new Map(lines.get(executor)).set(name, line))
  return line
}

async function flush(executor: Executor, schema: string, line: Line): Promise<void> {
  line.flushing = true
  await null // calls made in the same turn travel together
  while (line.waiting.length > 0) await write(executor, schema, line, takeCalls(line.waiting))
  line.flushing = false
  if (!line.doorbell.isOwed) return
  await new Promise((resolve) => setImmediate(resolve)) // callers may go on at once: then the next statement sees to it
  const queues = line.doorbell.take(!line.flushing)
  // A hint, as each ring: the pool may have been ended by now.
  if (queues.length > 0) await ringDoorbell(executor, schema, { queues }).catch(() => {})
}

/**
 * Calls share a statement up to this length, in characters. Longer ones gain nothing, are held in memory several times over, here and on
 * the server, and keep all their callers waiting.
 */
const MAX_SHARED_LENGTH = 10_000_000

/** The first calls in line, as many as may share a statement. A call is never divided: one that is longer travels alone. */
function takeCalls(waiting: Call[]): Call[] {
  let length = 0
  const next = waiting.findIndex((call, index) => {
    length += call.length
    return index > 0 && (length > MAX_SHARED_LENGTH || call.hasKeys !== waiting[0]!.hasKeys)
  })
  return waiting.splice(0, next === -1 ? waiting.length : next)
}

/** In a stream of statements a queue's doorbell rings this often, in ms, and once more when the stream ends. */
const RING_MS = 5

/** Which statements ring. In a stream of them each NOTIFY would cost as much as 20 jobs, to wake who is being woken. */
class Doorbell {
  readonly #rungAt = new Map<string, number>()
  /** Queues with jobs that nobody was told of. */
  readonly #owed = new Set<string>()

  get isOwed(): boolean {
    return this.#owed.size > 0
  }

  isDue(queue: string): boolean {
    return performance.now() - (this.#rungAt.get(queue) ?? Number.NEGATIVE_INFINITY) >= RING_MS
  }

  /** A statement that rings is about to be sent. Counted from here, not from its answer: meanwhile nobody else need ring. */
  rings(queues: Iterable<string>): void {
    for (const queue of queues) this.#rungAt.set(queue, performance.now())
  }

  written(queues: Iterable<string>, rang: boolean): void {
    for (const queue of queues) {
      if (rang) this.#owed.delete(queue)
      else this.#owed.add(queue)
    }
  }

  /** What to ring for now: all that is owed when nothing follows, else what was rung for long enough ago. */
  take(isLast: boolean): string[] {
    const queues = [...this.#owed].filter((queue) => isLast || this.isDue(queue))
    this.rings(queues)
    this.written(queues, true)
    return queues
  }
}

async function write(
  executor: Executor,
  schema: string,
  line: Line,
  calls: readonly Call[],
  refusal?: unknown,
): Promise<void> {
  try {
    const jobs = calls.length === 1 ? calls[0]!.jobs : calls.flatMap((call) => call.jobs)
    const results = await insert(executor, schema, jobs, line.doorbell, calls[0]!.hasKeys)
    let next = 0
    for (const call of calls) call.resolve(call.jobs.map(() => results[next++]!))
  } catch (error) {
    // The database refused a value (a trigger or constraint of the user's): only the call it came from shall fail.
    if (calls.length > 1 && isRefusal(error))
      for (const call of calls) await write(executor, schema, line, [call], error)
    // Inside a transaction nothing more can be written: then the refusal is what the callers need to hear of.
    else for (const call of calls) call.reject(isAborted(error) ? (refusal ?? error) : error)
  }
}

const isAborted = (error: unknown): boolean => sqlStateOf(error) === '25P02'

/**
 * Whether the database refused what was to be written: for its data, by a constraint, a policy, or whatever code a trigger made up. Not
 * what another try may find gone: a lost connection, a statement that must be prepared anew, a deadlock, a full disk, a time-out.
 */
export function isRefusal(error: unknown): boolean {
  const state = sqlStateOf(error)
  return state !== undefined && !/^(08|0A|25|26|40|53|55|57|58|XX)/.test(state)
}

/** Writes the jobs, and answers what became of them in the same order. */
async function insert(
  executor: Executor,
  schema: string,
  jobs: readonly NewJob[],
  doorbell: Doorbell,
  hasKeys: boolean,
): Promise<EnqueueResult[]> {
  if (hasKeys) return insertUnique(executor, schema, jobs)
  if (jobs.length === 1) return [inserted(await insertOne(executor, schema, jobs[0]!))]
  const queues = new Set(jobs.map(({ queue }) => queue))
  // What a pool writes is committed when it is answered. On anything else it may not be: who rings later may ring too early.
  const rings = !isPool(executor) || [...queues].some((queue) => doorbell.isDue(queue))
  if (rings) doorbell.rings(queues)
  const [row] = await insertJobs(prepared(executor), schema, { ...columnsOf(jobs), rings: String(rings) })
  doorbell.written(queues, rings)
  return row!.ids.slice(1, -1).split(',').map(inserted)
}

const inserted = (id: string): EnqueueResult => ({ status: 'inserted', id })

async function insertUnique(executor: Executor, schema: string, jobs: readonly NewJob[]): Promise<EnqueueResult[]> {
  const texts = jobs.map(({ task, args, queue, priority, executeAt, delayMs, retry, unique, meta }) => {
    const { key, until = 'finished', forMs, ifWaiting = 'keep' }: Partial<UniqueOptions> = unique ?? {}
    const times = { execute_at: executeAt && instantOf(executeAt), delay_ms: delayMs, for_ms: forMs }
    const carried = unique ? { ...meta, key } : meta
    const rest = { task, queue, priority, retry, ...times, meta: carried, key, until, if_waiting: ifWaiting }
    // The args as they were encoded: letter by letter.
    return `{"args":${args},${JSON.stringify(rest).slice(1)}`
  })
  const [row] = await insertUniqueJobs(prepared(executor), schema, { jobs: `[${texts.join()}]` })
  const answers: [string, EnqueueResult['status']][] = JSON.parse(row!.answers)
  return answers.map(([id, status]) => ({ status, id }))
}

async function insertOne(executor: Executor, schema: string, job: NewJob): Promise<string> {
  const { task, args, queue, priority, executeAt, delayMs, retry, meta } = job
  const statement = isPlain(job) ? enqueuePlain : enqueueWith
  const [row] = await statement(prepared(executor), schema, {
    task,
    args,
    queue,
    priority: String(priority),
    executeAt: executeAt ? instantOf(executeAt) : null,
    delayMs: delayMs === undefined ? null : String(delayMs),
    retry: retry ? JSON.stringify(retry) : null,
    meta: meta ? JSON.stringify(meta) : null,
  })
  return row!.id
}

const isPlain = ({ executeAt, delayMs, retry, meta }: NewJob): boolean =>
  executeAt === undefined && delayMs === undefined && retry === undefined && meta === undefined

/** As PostgreSQL reads it: years after 9999 without a sign and zeros before them. Of the past, of which it writes years BC otherwise, one will do. */
export const instantOf = (at: Date): string => new Date(Math.max(at.getTime(), 0)).toISOString().replace(/^\+0*/, '')

/** In characters of up to three bytes: PostgreSQL takes less than 1 GB in one statement. */
const MAX_LENGTH = 250_000_000

/** What the jobs add to a statement, about. Throws when it is more than one statement can take: several are not all or none. */
function lengthOf(jobs: readonly NewJob[]): number {
  const length = jobs.reduce((sum, { args, meta }) => sum + args.length + (meta ? JSON.stringify(meta).length : 0), 0)
  if (length <= MAX_LENGTH) return length
  throw new InvalidOptionError(
    `The args of these ${jobs.length} jobs are ${length} characters long; one call takes ${MAX_LENGTH}. Enqueue them in several calls, and in one transaction if it must be all or none.`,
  )
}

/** Jobs as columns: texts, the only kind of parameter that every client sends alike. */
interface Columns {
  /** JSON texts with SEPARATOR in between. */
  readonly args: string
  readonly queues: string | null
  readonly tasks: string | null
  readonly priorities: string | null
  readonly executeAts: string | null
  readonly delaysMs: string | null
  readonly retries: string | null
  readonly metas: string | null
}

function columnsOf(jobs: readonly NewJob[]): Columns {
  return {
    args: jobs.map(({ args }) => args).join(SEPARATOR),
    queues: arrayOf(jobs, ({ queue }) => queue),
    tasks: arrayOf(jobs, ({ task }) => task),
    priorities: arrayOf(jobs, ({ priority }) => priority),
    executeAts: arrayOf(jobs, ({ executeAt }) => executeAt && instantOf(executeAt)),
    delaysMs: arrayOf(jobs, ({ delayMs }) => delayMs),
    retries: arrayOf(jobs, ({ retry }) => retry && JSON.stringify(retry)),
    metas: arrayOf(jobs, ({ meta }) => meta && JSON.stringify(meta)),
  }
}

/** An array as PostgreSQL writes it: of one element when all jobs have the same, null when none has any. */
function arrayOf(jobs: readonly NewJob[], columnOf: (job: NewJob) => string | number | undefined): string | null {
  const first = columnOf(jobs[0]!)
  if (!jobs.every((job) => columnOf(job) === first)) return `{${jobs.map((job) => elementOf(columnOf(job))).join()}}`
  return first === undefined ? null : `{${elementOf(first)}}`
}

function elementOf(value: string | number | undefined): string | number {
  if (value === undefined) return 'null'
  return typeof value === 'number' ? value : `"${value.replace(/["\\]/g, '\\$&')}"`
}

/** See insert_jobs in the migration. */
const insertJobs = defineStatement<Columns & { readonly rings: string }, { ids: string }>(
  'insert_jobs',
  ({ routine, param }) => sql`
    select ${routine('insert_jobs')}(
      ${param('args')}::text, ${param('queues')}::text, ${param('tasks')}::text, ${param('priorities')}::text,
      ${param('executeAts')}::text, ${param('delaysMs')}::text, ${param('retries')}::text, ${param('metas')}::text,
      ${param('rings')}::text::boolean
    )::text as ids`,
)

/** See insert_unique_jobs in the migration. */
const insertUniqueJobs = defineStatement<{ readonly jobs: string }, { answers: string }>(
  'insert_unique_jobs',
  ({ routine, param }) => sql`select ${routine('insert_unique_jobs')}(${param('jobs')}::text::json)::text as answers`,
)

type OneJob = { readonly [Column in Exclude<keyof NewJob, 'unique'>]-?: string | null }

/** See enqueue in the migration. */
const enqueueOne = (name: string, extras: (param: StatementParts<OneJob>['param']) => RawBuilder<unknown>) =>
  defineStatement<OneJob, { id: string }>(
    name,
    ({ routine, param }) => sql`
      select ${routine('enqueue')}(
        ${param('task')}::text, ${param('args')}::text::json, ${param('queue')}::text, ${param('priority')}::text::integer${extras(param)}
      )::text as id`,
  )

// Each parameter costs the server 2 us, as text that it parses and plans: most jobs have none of these.
const enqueuePlain = enqueueOne('enqueue', () => sql``)
const enqueueWith = enqueueOne(
  'enqueue_with',
  (param) => sql`,
        ${param('executeAt')}::text::timestamptz, ${param('delayMs')}::text::double precision,
        ${param('retry')}::text::json, ${param('meta')}::text::json`,
)
