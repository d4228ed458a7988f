import type { StandardSchemaV1 } from '@standard-schema/spec'
import { DEFAULT_MAX_ARGS_BYTES } from './encode-args.js'
import {
  checkJob,
  checkJobs,
  type EnqueueOptions,
  enqueueJobs,
  inList,
  JOB_OPTIONS,
  newJob,
  storeSchedule,
} from './enqueue.js'
import { InvalidArgsError, InvalidOptionError } from './errors.js'
import { checkExecutor, type Executor } from './executor.js'
import type { DeliveryModeName, JobOf } from './job.js'
import { checkName, checkPriority, checkSchemaName, DEFAULT_SCHEMA } from './names.js'
import { newSchedule, type ScheduleOptions } from './new-schedule.js'
import { checkOptionNames, optionNames, shown } from './option-names.js'
import { checkRetryPolicy, type TaskRetryPolicy } from './retry-policy.js'
import type { ScheduleResult } from './schedules.js'
import type { EnqueueResult, NewJob } from './write-jobs.js'

/** A value that JSON carries unchanged. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue }

/**
 * The args themselves, except for what JSON would change or lose in them: args that do not extend this do not compile. For generic
 * code: `<Args extends Json<Args>>`. What the compiler cannot know (undefined, unknown, NaN) is left to the enqueue.
 */
export type Json<Args> = { [Key in keyof Args]: JsonOf<Args[Key]> }

// JSON stays, what JSON cannot carry becomes a text for the compiler to show, and of other objects each property likewise: an
// interface is no JsonValue, and its optional properties stay optional.
type JsonOf<Value> = Value extends JsonValue
  ? Value
  : Value extends NotJson
    ? 'JSON cannot carry this: pass a string, a number, a list or a plain object'
    : Value extends object
      ? Json<Value>
      : Value

// Other classes are found by their methods. These are named for a shorter message.
type NotJson = bigint | symbol | ((...args: any) => any) | Date | ReadonlyMap<any, any> | ReadonlySet<any>

/** How a task's jobs are enqueued and run, unless a call says otherwise. */
export interface TaskOptions<Mode extends DeliveryModeName = DeliveryModeName> {
  /** Delivery mode. Default 'at-least-once'. */
  readonly mode?: Mode
  /** Queue name. Default 'default'. */
  readonly queue?: string
  /** -32,768 to 32,767, higher first. Default 0. */
  readonly priority?: number
  /** When and how often a failed job runs again. An at-most-once task has none: it never runs twice. */
  readonly retry?: Mode extends 'at-most-once' ? never : TaskRetryPolicy
  /** Aborts job.signal after this many ms and counts the run as failed. Default: no limit. */
  readonly timeoutMs?: number
  /** Size limit of the args as JSON, in bytes. Default 262,144. */
  readonly maxArgsBytes?: number
  /** The schema that pgq was migrated into. Default 'pgq'. */
  readonly schema?: string
}

const TASK_OPTIONS = optionNames<TaskOptions & { args: unknown }>({
  args: true,
  mode: true,
  queue: true,
  priority: true,
  retry: true,
  timeoutMs: true,
  maxArgsBytes: true,
  schema: true,
})

/** One job of an enqueueMany call. */
export type JobInput<Input, Mode extends DeliveryModeName = DeliveryModeName> = {
  readonly args: Input
} & EnqueueOptions<Mode>

/** A handler and the task it is for, ready for createWorker or eagerQueue. */
export interface Handler {
  readonly task: Task<any, any, any>
  readonly run: (args: any, job: any) => unknown
}

/** A kind of job: its name, the type of its args, and how it is run. Producer, worker and tests share the definition. */
export class Task<Input, Output = Input, Mode extends DeliveryModeName = 'at-least-once'> {
  readonly mode: Mode
  readonly queue: string
  readonly priority: number
  readonly retry: TaskRetryPolicy | undefined
  readonly timeoutMs: number | undefined
  readonly maxArgsBytes: number
  readonly schema: string
  /** What its args must fit; undefined when nothing checks them. No #private: the types of two builds must go together. */
  readonly args: StandardSchemaV1<Input, Output> | undefined

  constructor(
    readonly name: string,
    options: TaskOptions<Mode> & { readonly args?: StandardSchemaV1<Input, Output> },
  ) {
    checkOptionNames(options, TASK_OPTIONS, `task ${JSON.stringify(name)}`)
    this.mode = options.mode ?? ('at-least-once' as Mode)
    this.queue = options.queue ?? 'default'
    this.priority = options.priority ?? 0
    this.retry = options.retry && given(options.retry)
    this.timeoutMs = options.timeoutMs
    this.maxArgsBytes = options.maxArgsBytes ?? DEFAULT_MAX_ARGS_BYTES
    this.schema = checkSchemaName(options.schema ?? DEFAULT_SCHEMA)
    this.args = options.args
    checkTask(this)
  }

  /** The args as the handler gets them. Throws InvalidArgsError when the schema refuses them. */
  parse(args: unknown): Output | Promise<Output> {
    if (!this.args) return args as Output
    const result = this.args['~standard'].validate(args)
    return result instanceof Promise ? result.then((r) => accept(this.name, r)) : accept(this.name, result)
  }

  /**
   * Enqueues one job, as a part of the transaction when the executor is one. Calls in flight together on one executor
   * travel as one statement. Outside a transaction the job is durable when the promise resolves. Throws InvalidArgsError,
   * NotSerialisableError, ArgsTooLargeError or InvalidOptionError before anything is written.
   */
  async enqueue(executor: Executor, args: Input, options?: EnqueueOptions<Mode>): Promise<EnqueueResult> {
    checkExecutor(executor)
    const parsed = this.parse(args)
    if (parsed instanceof Promise) await parsed
    const [result] = await enqueueJobs(executor, this.schema, [newJob(this, args, options)])
    return result as EnqueueResult
  }

  /**
   * Enqueues any number of jobs in one statement, all or none, in the order given. Results come in the same order. Their args may
   * be 250,000,000 characters in all; beyond that it throws InvalidOptionError.
   */
  async enqueueMany(executor: Executor, jobs: Iterable<JobInput<Input, Mode>>): Promise<EnqueueResult[]> {
    // First: who forgot it passed the args in its place.
    checkExecutor(executor)
    checkJobs(jobs)
    const created: NewJob[] = []
    for (const job of jobs) {
      try {
        checkJob(job)
        const parsed = this.parse(job.args)
        if (parsed instanceof Promise) await parsed
        created.push(newJob(this, job.args, job, JOB_OPTIONS))
      } catch (error) {
        throw inList(error, created.length)
      }
    }
    return enqueueJobs(executor, this.schema, created)
  }

  /**
   * Has workers enqueue a job with these args at each slot of a cron expression or an interval, once each, however many workers there
   * are. Call it as often as you like, at each start of a program, say: a schedule of the same name is changed where it differs, and
   * keeps its next slot while its timing is the same. It goes on until removeSchedule. Throws as enqueue does.
   */
  async schedule(executor: Executor, args: Input, options: ScheduleOptions<Mode>): Promise<ScheduleResult> {
    checkExecutor(executor)
    const parsed = this.parse(args)
    if (parsed instanceof Promise) await parsed
    return storeSchedule(executor, this.schema, newSchedule(this, args, options))
  }

  /**
   * Binds a handler to this task. Its return value is ignored, unless it is retryAfter(), snooze(), cancel() or fail(). Throws
   * InvalidOptionError for what is no function.
   */
  handle<DB = any>(run: (args: Output, job: JobOf<Mode, DB>) => unknown): Handler {
    if (typeof run !== 'function') {
      throw new InvalidOptionError(
        `The handler of task "${this.name}" is ${named(run)}; give a function of (args, job).`,
      )
    }
    return { task: this, run }
  }
}

/**
 * Defines a task. Give `args` any Standard Schema (zod, valibot, arktype, ...) and the args are typed and validated, at
 * enqueue and again before the handler; or give their type alone: `args: typed<{ orderId: string }>()`, which in the default
 * mode may be written `defineTask<{ orderId: string }>('charge')`. Without, they are any JSON. Throws InvalidOptionError.
 */
// No overloads: of several the compiler tells only why the last one does not fit, which is seldom the one that was meant.
export function defineTask<
  Input extends Json<Input> = JsonValue,
  Output = Input,
  Mode extends DeliveryModeName = 'at-least-once',
>(
  name: string,
  options: TaskOptions<Mode> & { readonly args?: StandardSchemaV1<Input, Output> } = {},
): Task<Input, Output, Mode> {
  return new Task(name, options)
}

/** A schema that checks nothing at run time and carries a type: for args that are typed but not validated. */
export const typed = <Args extends Json<Args>>(): StandardSchemaV1<Args, Args> => ({
  '~standard': { version: 1, vendor: 'pgq', validate: (value) => ({ value: value as Args }) },
})

/** The function that a task's handle() takes; not by Parameters<...>, which would type job.trx as a transaction of no tables. */
type HandlerOf<T> = T extends Task<any, infer Output, infer Mode> ? (args: Output, job: JobOf<Mode>) => unknown : never

/** One handler for each task of an object of tasks: a missing one does not compile. Throws InvalidOptionError for what is no task or no function. */
export function handleAll<Tasks extends Record<string, Task<any, any, any>>>(
  tasks: Tasks,
  handlers: { [Key in keyof Tasks]: HandlerOf<Tasks[Key]> },
): Handler[] {
  return Object.entries(tasks ?? {}).map(([key, task]) => {
    if (typeof task?.handle === 'function') return task.handle(handlers?.[key] as never)
    throw new InvalidOptionError(`handleAll: ${key} is ${named(task)}; give what defineTask(...) answers.`)
  })
}

/** Handlers by the names of their tasks. Throws InvalidOptionError for what is no list of handlers, and for two of one task. */
export function handlersByTask(handlers: readonly Handler[]): Map<string, Handler> {
  if (!Array.isArray(handlers)) {
    throw new InvalidOptionError(`handlers must be a list: [task.handle(...), ...]; this is ${named(handlers)}.`)
  }
  const found = new Map<string, Handler>()
  for (const [index, handler] of (handlers as readonly Handler[]).entries()) {
    if (typeof handler?.task?.name !== 'string' || typeof handler.run !== 'function') {
      throw new InvalidOptionError(`handlers[${index}] is ${named(handler)}; give what task.handle(...) answers.`)
    }
    const { name } = handler.task
    if (found.has(name)) throw new InvalidOptionError(`There are two handlers for task "${name}": keep one.`)
    found.set(name, handler)
  }
  return found
}

/** What somebody gave by mistake, in words. */
function named(given: unknown): string {
  if (given instanceof Task) return `the task "${given.name}" without its handler`
  if (Array.isArray(given)) return 'a list'
  if (typeof given === 'function') return 'a function'
  return typeof given === 'object' && given !== null ? 'an object' : String(given)
}

function accept<Output>(task: string, result: StandardSchemaV1.Result<Output>): Output {
  if (!result.issues) return result.value
  throw new InvalidArgsError(
    task,
    result.issues.map(({ message, path }) => ({ message, path: pathText(path) })),
  )
}

const pathText = (path: StandardSchemaV1.Issue['path'] = []): string =>
  path.reduce<string>((text, part) => {
    const key = typeof part === 'object' ? part.key : part
    return typeof key === 'number' ? `${text}[${key}]` : `${text}.${String(key)}`
  }, 'args')

/** Without the keys that are undefined: { maxAttempts: undefined } means the default, not no end. */
const given = <Options>(options: Options): Options =>
  typeof options === 'object' && options !== null
    ? (Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as Options)
    : options

function checkTask(task: Task<any, any, any>): void {
  const where = `task ${JSON.stringify(task.name)}`
  checkName(task.name, 'task')
  checkName(task.queue, 'queue')
  checkPriority(task.priority, where)
  checkRetryPolicy(task.retry ?? {}, where)
  if (task.args !== undefined && typeof task.args?.['~standard']?.validate !== 'function') {
    throw new InvalidOptionError(
      `${where}: args is ${named(task.args)}; give a schema (zod, valibot, arktype) or typed<...>().`,
    )
  }
  if (!['at-least-once', 'at-most-once', 'transactional'].includes(task.mode)) {
    throw new InvalidOptionError(
      `${where}: mode ${JSON.stringify(task.mode)} is unknown: use 'at-least-once', 'at-most-once' or 'transactional'.`,
    )
  }
  if (task.mode === 'at-most-once' && task.retry) {
    throw new InvalidOptionError(`${where}: an at-most-once task never runs twice, so it cannot have retry.`)
  }
  for (const name of ['timeoutMs', 'maxArgsBytes'] as const) {
    const value = task[name]
    if (value !== undefined && !(Number.isInteger(value) && value > 0 && value < 2 ** 31)) {
      throw new InvalidOptionError(`${where}: ${name} is ${shown(value)}; use a whole number over 0.`)
    }
  }
}
