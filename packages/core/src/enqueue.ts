import { AT_MOST_ONCE_UNCOUNTED, type ConcurrencyOptions, checkConcurrency, concurrencyMeta } from './concurrency.js'
import { DEFAULT_MAX_ARGS_BYTES, encodeArgs } from './encode-args.js'
import { InvalidOptionError, PgqError } from './errors.js'
import { checkExecutor, type Executor } from './executor.js'
import type { DeliveryModeName } from './job.js'
import { checkName, checkPriority, DEFAULT_SCHEMA } from './names.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'
import { checkRetryPolicy, MAX_DELAY_MS, type RetryPolicy } from './retry-policy.js'
import { type NewSchedule, putSchedule, type ScheduleResult } from './schedules.js'
import { checkUnique, type UniqueOptions } from './unique.js'
import { type EnqueueResult, type NewJob, writeJobs } from './write-jobs.js'

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
  /** Nothing is enqueued while another job of the task has the same key: the result says which. */
  readonly unique?: UniqueOptions
  /** At most so many jobs of the queue with the same key run at the same time, over all workers. */
  readonly concurrency?: Mode extends 'at-most-once' ? never : ConcurrencyOptions
}

const OPTIONS = optionNames<EnqueueOptions>({
  queue: true,
  priority: true,
  executeAt: true,
  delayMs: true,
  retry: true,
  unique: true,
  concurrency: true,
})

/** Those of a job in a list, beside its args. */
export const JOB_OPTIONS: ReadonlySet<string> = new Set([...OPTIONS, 'args'])

const SCHEMA = optionNames<{ schema?: string }>({ schema: true })

/** Those of a job by name. */
const NAMED_OPTIONS: ReadonlySet<string> = new Set([...OPTIONS, ...SCHEMA])

/** Where jobs and schedules go instead of the database: an eager queue. */
export interface EnqueueSink {
  enqueue(executor: Executor, jobs: readonly NewJob[], schema: string): Promise<EnqueueResult[]>
  schedule(schedule: NewSchedule, schema: string): Promise<ScheduleResult>
}

/** Enqueues a job by task name, for code that has no definition at hand. Everything else as Task.enqueue. */
export async function enqueue(
  executor: Executor,
  task: string,
  args: unknown = {},
  options: EnqueueOptions & { readonly schema?: string } = {},
): Promise<EnqueueResult> {
  checkName(task, 'task')
  const { schema = DEFAULT_SCHEMA } = options ?? {}
  const job = newJob(defaultsOf(task), args, options, NAMED_OPTIONS)
  const [result] = await enqueueJobs(executor, schema, [job])
  return result as EnqueueResult
}

/** Enqueues any number of jobs by task name, all or none. Everything else as Task.enqueueMany. */
export async function enqueueMany(
  executor: Executor,
  task: string,
  jobs: Iterable<{ readonly args?: unknown } & EnqueueOptions>,
  options: { readonly schema?: string } = {},
): Promise<EnqueueResult[]> {
  checkName(task, 'task')
  checkJobs(jobs)
  checkOptionNames(options, SCHEMA, `enqueueMany of task ${JSON.stringify(task)}`)
  const { schema = DEFAULT_SCHEMA } = options
  const defaults = defaultsOf(task)
  const create = (job: { readonly args?: unknown } & EnqueueOptions, index: number) => {
    try {
      checkJob(job)
      return newJob(defaults, job.args === undefined ? {} : job.args, job, JOB_OPTIONS)
    } catch (error) {
      throw inList(error, index)
    }
  }
  return enqueueJobs(executor, schema, Array.from(jobs, create))
}

/** Refuses what is no list of jobs, before anything is read from it. */
export function checkJobs(jobs: Iterable<unknown>): void {
  if (typeof jobs === 'object' && typeof jobs?.[Symbol.iterator] === 'function') return
  throw new InvalidOptionError(`The jobs are ${shown(jobs)}; give a list: [{ args: ... }, ...].`)
}

/**
 * Refuses what is no job of a list, such as its args alone: some have no options that could be wrong, and would be dropped; of others the
 * schema would say that they lack everything.
 */
export function checkJob(job: unknown): void {
  if (typeof job !== 'object' || job === null || Array.isArray(job)) {
    throw new InvalidOptionError(`a job is ${shown(job)}; give an object: { args: ... }.`)
  }
  if ('args' in job) return
  const unknown = Object.keys(job).find((name) => !OPTIONS.has(name))
  if (unknown === undefined) return
  const name = shown(unknown)
  throw new InvalidOptionError(
    `the job has no args, and ${name} is no option: args go under args, as in { args: { ${name}: ... } }. The options beside them are ${[...OPTIONS].join(', ')}.`,
  )
}

/** The error of one job in a list, which says which of them it is. */
export function inList(error: unknown, index: number): unknown {
  if (error instanceof PgqError) error.message = `jobs[${index}]: ${error.message}`
  return error
}

const defaultsOf = (name: string): TaskDefaults => ({
  name,
  queue: 'default',
  priority: 0,
  maxArgsBytes: DEFAULT_MAX_ARGS_BYTES,
})

/** Checks the options of one job and encodes its args. */
export function newJob(
  task: TaskDefaults,
  args: unknown,
  given?: EnqueueOptions | null,
  known: ReadonlySet<string> = OPTIONS,
): NewJob {
  const options = given ?? DEFAULTS
  if (options !== DEFAULTS) checkOptions(task, options, known)
  const { queue = task.queue, priority = task.priority, executeAt, delayMs, retry, unique, concurrency } = options
  const encoded = encodeArgs(args, task.maxArgsBytes)
  const meta = concurrency && concurrencyMeta(concurrency)
  return { queue, task: task.name, args: encoded, priority, executeAt, delayMs, retry, unique, meta }
}

/** What a job has when its call says nothing else. */
export interface TaskDefaults {
  readonly name: string
  readonly mode?: DeliveryModeName
  readonly queue: string
  readonly priority: number
  readonly maxArgsBytes: number
}

const DEFAULTS: EnqueueOptions = {}

function checkOptions(task: TaskDefaults, options: EnqueueOptions, known: ReadonlySet<string>): void {
  const { queue, priority, executeAt, delayMs, retry, unique, concurrency } = options
  const where = `enqueue of task ${JSON.stringify(task.name)}`
  checkOptionNames(options, known, where)
  if (queue !== undefined) checkName(queue, 'queue')
  if (priority !== undefined) checkPriority(priority, where)
  if (retry !== undefined) checkJobRetry(task, retry, where)
  checkTime(executeAt, delayMs, where)
  if (unique !== undefined) checkUnique(unique, where)
  if (concurrency !== undefined) {
    checkConcurrency(concurrency, where)
    if (task.mode === 'at-most-once') throw new InvalidOptionError(`${where}: ${AT_MOST_ONCE_UNCOUNTED}`)
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
    throw new InvalidOptionError(`${where}: delayMs is ${shown(delayMs)}; use milliseconds from 0 to ${MAX_DELAY_MS}.`)
  }
}

/** Wraps every enqueue of this process: call next with the jobs, perhaps with a `meta` added; its answer is the caller's. */
export type AroundEnqueue = (
  jobs: readonly NewJob[],
  next: (jobs: readonly NewJob[]) => Promise<EnqueueResult[]>,
) => Promise<EnqueueResult[]>

/** Wraps every enqueue of this process, for tracing and the like, until undone by the function that it answers. Later ones run outside. */
export function aroundEnqueue(hook: AroundEnqueue): () => void {
  if (typeof hook !== 'function')
    throw new InvalidOptionError('aroundEnqueue takes a function (jobs, next) => next(jobs).')
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
  const write = (given: readonly NewJob[]) => store(executor, schema, given)
  // The first in line runs outside of all others.
  return (EVERYWHERE[HOOKS] ?? []).reduceRight<typeof write>((next, hook) => (given) => hook(given, next), write)(jobs)
}

function store(executor: Executor, schema: string, jobs: readonly NewJob[]): Promise<EnqueueResult[]> {
  const sink = sinkOf(executor)
  return sink ? sink.enqueue(executor, jobs, schema) : writeJobs(executor, schema, jobs)
}

/** Hands a schedule to the executor's sink, or writes it. */
export function storeSchedule(executor: Executor, schema: string, schedule: NewSchedule): Promise<ScheduleResult> {
  const sink = sinkOf(executor)
  return sink ? sink.schedule(schedule, schema) : putSchedule(executor, schema, schedule)
}

const sinkOf = (executor: Executor): EnqueueSink | undefined =>
  (diversions.get(executor)?.at(-1) ?? diversions.get(EVERYWHERE)?.at(-1))?.sink

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
