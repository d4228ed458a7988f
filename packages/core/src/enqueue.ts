import { type RawBuilder, sql } from 'kysely'
import { DEFAULT_MAX_ARGS_BYTES, encodeArgs, SEPARATOR } from './encode-args.js'
import { InvalidOptionError } from './errors.js'
import { checkExecutor, type Executor, run } from './executor.js'
import type { DeliveryModeName, JobMeta } from './job.js'
import { checkName, checkPriority, DEFAULT_SCHEMA } from './names.js'
import { isPool, prepared } from './prepared.js'
import { checkRetryPolicy, MAX_DELAY_MS, type RetryPolicy } from './retry-policy.js'
import { defineStatement, type StatementParts } from './statement.js'
import { ringDoorbell } from './workers.js'

/** What one call may change about its job. */
export interface EnqueueOptions<Mode extends DeliveryModeName = DeliveryModeName> {
  /** Default: the task's queue. */
  readonly queue?: string
  /** -32,768 to 32,767, higher first. Default: the task's priority. */
  readonly priority?: number
  /** Not before this instant, by the database's clock. One in the past means at once. */
  readonly executeAt?: Date
  /** Not before this many ms from now, by the database's clock. Not together with executeAt. */
  readonly delayMs?: number
  /** This job's own retry policy, over the task's. */
  readonly retry?: Mode extends 'at-most-once' ? never : RetryPolicy
}

/** What became of an enqueue call. Never null; `status` tells the cases apart. */
export type EnqueueResult = { readonly status: 'inserted'; readonly id: string }

/** A job about to be written: args as JSON text. */
export interface NewJob {
  readonly queue: string
  readonly task: string
  readonly args: string
  readonly priority: number
  readonly executeAt?: Date | undefined
  readonly delayMs?: number | undefined
  readonly retry?: RetryPolicy | undefined
  /** What travels beside the args; see aroundEnqueue. */
  readonly meta?: JobMeta | undefined
}

/** Where jobs go instead of the database: an eager queue. */
export interface EnqueueSink {
  enqueue(executor: Executor, jobs: readonly NewJob[]): Promise<EnqueueResult[]>
}

/** Enqueues a job by task name, for code that has no definition at hand. Everything else as Task.enqueue. */
export async function enqueue(
  executor: Executor,
  task: string,
  args: unknown = {},
  { schema = DEFAULT_SCHEMA, ...options }: EnqueueOptions & { readonly schema?: string } = {},
): Promise<EnqueueResult> {
  const [result] = await enqueueMany(executor, task, [{ args, ...options }], { schema })
  return result as EnqueueResult
}

/** Enqueues any number of jobs by task name, all or none. */
export async function enqueueMany(
  executor: Executor,
  task: string,
  jobs: Iterable<{ readonly args?: unknown } & EnqueueOptions>,
  { schema = DEFAULT_SCHEMA }: { readonly schema?: string } = {},
): Promise<EnqueueResult[]> {
  checkName(task, 'task')
  const defaults = { name: task, queue: 'default', priority: 0, maxArgsBytes: DEFAULT_MAX_ARGS_BYTES }
  return enqueueJobs(
    executor,
    schema,
    Array.from(jobs, (job) => newJob(defaults, { ...job, args: job.args === undefined ? {} : job.args })),
  )
}

/** Checks the options of one job and encodes its args. */
export function newJob(
  task: {
    readonly name: string
    readonly mode?: DeliveryModeName
    readonly queue: string
    readonly priority: number
    readonly maxArgsBytes: number
  },
  { args, queue, priority, executeAt, delayMs, retry }: { readonly args: unknown } & EnqueueOptions,
): NewJob {
  const where = `enqueue of task ${JSON.stringify(task.name)}`
  if (queue !== undefined) checkName(queue, 'queue')
  if (priority !== undefined) checkPriority(priority, where)
  if (retry !== undefined) checkJobRetry(task, retry, where)
  checkTime(executeAt, delayMs, where)
  return {
    queue: queue ?? task.queue,
    task: task.name,
    args: encodeArgs(args, task.maxArgsBytes),
    priority: priority ?? task.priority,
    executeAt,
    delayMs,
    retry,
  }
}

function checkJobRetry({ mode }: { readonly mode?: DeliveryModeName }, retry: RetryPolicy, where: string): void {
  checkRetryPolicy(retry, where)
  if ('backoff' in retry) {
    throw new InvalidOptionError(`${where}: retry.backoff is code, which a job cannot carry: give it to the task.`)
  }
  if (mode === 'at-most-once') {
    throw new InvalidOptionError(`${where}: an at-most-once job never runs twice, so it cannot have retry.`)
  }
}

function checkTime(executeAt: Date | undefined, delayMs: number | undefined, where: string): void {
  if (executeAt !== undefined && delayMs !== undefined) {
    throw new InvalidOptionError(`${where}: give executeAt or delayMs, not both.`)
  }
  if (executeAt !== undefined && !(executeAt instanceof Date && !Number.isNaN(executeAt.getTime()))) {
    throw new InvalidOptionError(`${where}: executeAt must be a valid Date.`)
  }
  if (delayMs !== undefined && !(typeof delayMs === 'number' && delayMs >= 0 && delayMs <= MAX_DELAY_MS)) {
    throw new InvalidOptionError(`${where}: delayMs is ${String(delayMs)}; use milliseconds from 0 to ${MAX_DELAY_MS}.`)
  }
}

/** Wraps every enqueue of this process: call next with the jobs, perhaps with a `meta` added; its answer is the caller's. */
export type AroundEnqueue = (
  jobs: readonly NewJob[],
  next: (jobs: readonly NewJob[]) => Promise<EnqueueResult[]>,
) => Promise<EnqueueResult[]>

/** Wraps every enqueue of this process, for tracing and the like, until undone by the function that it answers. Later ones run outside. */
export function aroundEnqueue(hook: AroundEnqueue): () => void {
  const own: AroundEnqueue = (jobs, next) => hook(jobs, next)
  EVERYWHERE[HOOKS] = [own, ...(EVERYWHERE[HOOKS] ?? [])]
  return () => {
    EVERYWHERE[HOOKS] = EVERYWHERE[HOOKS]?.filter((one) => one !== own)
  }
}

/** Hands jobs to the executor's sink, or writes them together with whatever else waits for the same executor. */
export function enqueueJobs(executor: Executor, schema: string, jobs: readonly NewJob[]): Promise<EnqueueResult[]> {
  checkExecutor(executor)
  if (jobs.length === 0) return Promise.resolve([])
  let next = (given: readonly NewJob[]) => store(executor, schema, given)
  for (const hook of EVERYWHERE[HOOKS]?.toReversed() ?? []) {
    const inner = next
    next = (given) => hook(given, inner)
  }
  return next(jobs)
}

function store(executor: Executor, schema: string, jobs: readonly NewJob[]): Promise<EnqueueResult[]> {
  const diversion = diversions.get(executor)?.at(-1) ?? diversions.get(EVERYWHERE)?.at(-1)
  if (diversion) return diversion.sink.enqueue(executor, jobs)
  const lane = laneOf(executor, schema)
  return new Promise((resolve, reject) => {
    lane.waiting.push({ jobs, resolve, reject })
    if (!lane.flushing) void flush(executor, schema, lane)
  })
}

/** One call's own: diverting twice to the same sink is undone twice. */
interface Diversion {
  readonly sink: EnqueueSink
}

// One for the whole process: the ESM and the CJS build of this package may meet in it.
const DIVERSIONS = Symbol.for('pgq.diversions')
const HOOKS = Symbol.for('pgq.around-enqueue')
const EVERYWHERE: typeof globalThis & {
  [DIVERSIONS]?: WeakMap<object, readonly Diversion[]>
  [HOOKS]?: readonly AroundEnqueue[] | undefined
} = globalThis
EVERYWHERE[DIVERSIONS] ??= new WeakMap()
const diversions = EVERYWHERE[DIVERSIONS]

/**
 * Sends what is enqueued on this executor, or on every one when none is given, to the sink, until undone by the function that it
 * answers. Of several the latest counts; they may be undone in any order.
 */
export function divertEnqueues(sink: EnqueueSink, executor: object = EVERYWHERE): () => void {
  const diversion: Diversion = { sink }
  const others = () => (diversions.get(executor) ?? []).filter((one) => one !== diversion)
  diversions.set(executor, [...others(), diversion])
  return () => void diversions.set(executor, others())
}

interface Call {
  readonly jobs: readonly NewJob[]
  readonly resolve: (results: EnqueueResult[]) => void
  readonly reject: (error: unknown) => void
}

/** The calls of one executor: one statement at a time is under way, the next takes all that came meanwhile. */
interface Lane {
  flushing: boolean
  waiting: Call[]
  readonly doorbell: Doorbell
}

const lanes = new WeakMap<object, Map<string, Lane>>()

function laneOf(executor: Executor, schema: string): Lane {
  const bySchema = lanes.get(executor) ?? new Map<string, Lane>()
  const lane = bySchema.get(schema) ?? { flushing: false, waiting: [], doorbell: new Doorbell() }
  lanes.set(executor, bySchema.set(schema, lane))
  return lane
}

async function flush(executor: Executor, schema: string, lane: Lane): Promise<void> {
  lane.flushing = true
  await null // calls made in the same turn travel together
  while (lane.waiting.length > 0) await write(executor, schema, lane, lane.waiting.splice(0))
  lane.flushing = false
  if (!lane.doorbell.isOwed) return
  await new Promise((resolve) => setImmediate(resolve)) // callers may go on at once: then the next statement sees to it
  const queues = lane.doorbell.take(!lane.flushing)
  // A hint, as each ring: the pool may have been ended by now.
  if (queues.length > 0) await ringDoorbell(executor, schema, queues).catch(() => {})
}

/** In a stream of statements a queue's doorbell rings this often, in ms, and once more when the stream ends. */
const RING_MS = 5

/** Which statements ring. In a stream of them each NOTIFY would cost as much as 20 jobs, to wake who is being woken. */
class Doorbell {
  readonly #rungAt = new Map<string, number>()
  /** Queues with jobs that did not ring, and since when. */
  readonly #owed = new Map<string, number>()

  get isOwed(): boolean {
    return this.#owed.size > 0
  }

  isDue(queues: ReadonlySet<string>): boolean {
    const now = performance.now()
    return [...queues].some((queue) => now - (this.#rungAt.get(queue) ?? Number.NEGATIVE_INFINITY) >= RING_MS)
  }

  written(queues: ReadonlySet<string>, rang: boolean): void {
    const now = performance.now()
    for (const queue of queues) {
      if (rang) {
        this.#rungAt.set(queue, now)
        this.#owed.delete(queue)
      } else if (!this.#owed.has(queue)) this.#owed.set(queue, now)
    }
  }

  /** What to ring for now: all that is owed when nothing follows, else what was owed for long enough. */
  take(isLast: boolean): string[] {
    const now = performance.now()
    const queues = [...this.#owed].filter(([, since]) => isLast || now - since >= RING_MS).map(([queue]) => queue)
    this.written(new Set(queues), true)
    return queues
  }
}

async function write(
  executor: Executor,
  schema: string,
  lane: Lane,
  calls: readonly Call[],
  refusal?: unknown,
): Promise<void> {
  try {
    const jobs = calls.length === 1 ? calls[0]!.jobs : calls.flatMap((call) => call.jobs)
    const ids = await insert(executor, schema, jobs, lane.doorbell)
    let next = 0
    for (const call of calls) call.resolve(call.jobs.map(() => ({ status: 'inserted', id: ids[next++]! })))
  } catch (error) {
    // The database refused a value (a trigger or constraint of the user's): only the call it came from shall fail.
    if (calls.length > 1 && isRefusal(error))
      for (const call of calls) await write(executor, schema, lane, [call], error)
    // Inside a transaction nothing more can be written: then the refusal is what the callers need to hear of.
    else for (const call of calls) call.reject(isAborted(error) ? (refusal ?? error) : error)
  }
}

const isAborted = (error: unknown): boolean => (error as { code?: unknown } | null)?.code === '25P02'

// data exception, integrity violation, raised by a trigger
const isRefusal = (error: unknown): boolean => /^(22|23|P0)/.test(String((error as { code?: unknown } | null)?.code))

/** Writes the jobs, and answers their ids in the same order. */
async function insert(
  executor: Executor,
  schema: string,
  jobs: readonly NewJob[],
  doorbell: Doorbell,
): Promise<string[]> {
  if (jobs.length === 1) return [await insertOne(executor, schema, jobs[0]!)]
  const queues = new Set(jobs.map(({ queue }) => queue))
  // What a pool writes is committed when it is answered. On anything else it may not be: who rings later may ring too early.
  const rings = !isPool(executor) || doorbell.isDue(queues)
  const [row] = await run(prepared(executor), schema, insertJobs, { ...columnsOf(jobs), rings: String(rings) })
  doorbell.written(queues, rings)
  return row!.ids.slice(1, -1).split(',')
}

async function insertOne(
  executor: Executor,
  schema: string,
  { task, args, queue, priority, executeAt, delayMs, retry, meta }: NewJob,
): Promise<string> {
  const isPlain = executeAt === undefined && delayMs === undefined && retry === undefined && meta === undefined
  const [row] = await run(prepared(executor), schema, isPlain ? enqueuePlain : enqueueWith, {
    task,
    args,
    queue,
    priority: String(priority),
    executeAt: executeAt?.toISOString() ?? null,
    delayMs: delayMs === undefined ? null : String(delayMs),
    retry: retry ? JSON.stringify(retry) : null,
    meta: meta ? JSON.stringify(meta) : null,
  })
  return row!.id
}

const MAX_STATEMENT_LENGTH = 250_000_000

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
  const length = jobs.reduce((sum, { args, meta }) => sum + args.length + (meta ? JSON.stringify(meta).length : 0), 0)
  if (length > MAX_STATEMENT_LENGTH) {
    throw new InvalidOptionError('These jobs take more than 250 MB in one statement. Enqueue them in several calls.')
  }
  return {
    args: jobs.map(({ args }) => args).join(SEPARATOR),
    queues: arrayOf(jobs, ({ queue }) => queue),
    tasks: arrayOf(jobs, ({ task }) => task),
    priorities: arrayOf(jobs, ({ priority }) => priority),
    executeAts: arrayOf(jobs, ({ executeAt }) => executeAt?.toISOString()),
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

type OneJob = { readonly [Column in keyof NewJob]-?: string | null }

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
