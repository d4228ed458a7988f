import { AssertionError } from 'node:assert'
import { AsyncLocalStorage } from 'node:async_hooks'
import {
  checkName,
  checkOptionNames,
  decideSettlement,
  divertEnqueues,
  type EnqueueResult,
  type EnqueueSink,
  type Executor,
  type Handler,
  handlersByTask,
  InvalidOptionError,
  type NewJob,
  type Outcome,
  optionNames,
  type Settlement,
  type SqlClient,
  shown,
  type Task,
  UnknownTaskError,
} from '@pgq/core'
import type { Transaction } from 'kysely'
import { describeMissing } from './describe-jobs.js'
import type { EagerJob, Entry } from './eager-job.js'
import { Keys } from './keys.js'
import { type Match, matches } from './matches.js'
import { runJob } from './run-job.js'
import { isTransaction } from './savepoint.js'
import { type EagerSchedule, Schedules } from './schedules.js'
import { Timetable } from './timetable.js'
import { type Undo, undoOnce } from './undo.js'

/** Options of eagerQueue. */
export interface EagerQueueOptions {
  /** What to run: the handlers that the worker gets. */
  readonly handlers: readonly Handler[]
  /** Queues to serve. Default, as of a worker: the queues of the handlers' tasks. */
  readonly queues?: readonly string[]
  /** inline: a job runs when it is enqueued, unless it is delayed. manual: on drain() and advance() only. Default 'inline'. */
  readonly mode?: 'inline' | 'manual'
  /**
   * throw: the call that ran a job rejects with what its handler threw. record: it is kept in job.errors, and drain() goes on
   * with the retries. Default 'throw'.
   */
  readonly onError?: 'throw' | 'record'
  /** Where the queue's clock starts; it moves on drain() and advance() only. Default: now. */
  readonly now?: Date
}

const OPTIONS = optionNames<EagerQueueOptions>({ handlers: true, queues: true, mode: true, onError: true, now: true })

/**
 * A queue without a database, for tests: pass it where an executor goes, as in `task.enqueue(queue, args)`. Jobs live in
 * memory, so nothing is left over that a worker could run again.
 */
export interface EagerQueue extends SqlClient {
  /** All jobs, in the order of their enqueueing. */
  readonly jobs: readonly EagerJob[]
  /** What was scheduled, in the order of its first time. */
  readonly schedules: readonly EagerSchedule[]
  /** The queue's clock. */
  readonly now: Date
  /**
   * Runs everything that waits, also what is delayed, by moving the clock to each job's time; but no slots of schedules, which have no end. Answers the
   * number of handler runs. With maxJobs it ends after so many; without, it throws when 100,000 runs find no end. Throws UnknownTaskError when
   * jobs without a handler are left, and InvalidOptionError when jobs on a queue are that is not served.
   */
  drain(options?: { readonly maxJobs?: number }): Promise<number>
  /** Moves the clock by so many ms and runs what becomes due on the way, each at its time, also of schedules. Answers the number of runs. */
  advance(ms: number): Promise<number>
  /**
   * Enqueues on this executor go to the queue, until undone: for code that enqueues on a real transaction of the test. When
   * it is an open Kysely transaction, transactional handlers get it as job.trx, inside a savepoint of their own.
   */
  attach(executor: Executor): Undo
  /** Every enqueue in this process goes to the queue, whatever its executor, until undone. */
  intercept(): Undo
  /** The jobs of this task, with these args when given. */
  enqueued<Output>(task: Task<any, Output, any>, match?: Match<Output>): EagerJob<Output>[]
  enqueued(task: string, match?: Match<any>): EagerJob[]
  /** The same, but throws an AssertionError that lists what was enqueued when there is none. */
  assertEnqueued<Output>(task: Task<any, Output, any>, match?: Match<Output>): EagerJob<Output>[]
  assertEnqueued(task: string, match?: Match<any>): EagerJob[]
  /** Forgets all jobs and schedules. The clock stays where it is. */
  clear(): void
}

/** Makes an eager queue. Throws InvalidOptionError when the options cannot be: a task that has two handlers, say. */
export const eagerQueue = (options: EagerQueueOptions): EagerQueue => new MemoryQueue(options)

/** More runs than this in one call are taken for jobs that bring themselves back without end. */
const ENDLESS = 100_000

class MemoryQueue implements EagerQueue {
  readonly #handlers: ReadonlyMap<string, Handler>
  readonly #queues: ReadonlySet<string>
  /** Undefined without handlers: then there is nothing to be told apart. */
  readonly #schema: string | undefined
  readonly #timetable: Timetable
  readonly #keys = new Keys()
  readonly #schedules = new Schedules()
  #entries: Entry[] = []
  #nextId = 1
  /** One call works at a time. */
  #turn: Promise<unknown> = Promise.resolve()
  #working = false
  /** Set in what handlers call: their jobs run after them, not inside them. */
  readonly #insideHandler = new AsyncLocalStorage<true>()
  readonly #attached: Executor[] = []

  constructor(private readonly options: EagerQueueOptions) {
    checkOptionNames(options, OPTIONS, 'eagerQueue')
    checkChoice('mode', options.mode, ['inline', 'manual'])
    checkChoice('onError', options.onError, ['throw', 'record'])
    this.#handlers = handlersByTask(options.handlers)
    this.#queues = servedQueues(options.queues, this.#handlers)
    this.#schema = schemaOf(this.#handlers)
    this.#timetable = new Timetable(checkNow(options.now ?? new Date()))
    divertEnqueues(this.#sink, this)
  }

  get jobs(): readonly EagerJob[] {
    return this.#entries.map(({ job }) => job)
  }

  get schedules(): readonly EagerSchedule[] {
    return this.#schedules.all
  }

  get now(): Date {
    return new Date(this.#timetable.now)
  }

  drain({ maxJobs }: { readonly maxJobs?: number } = {}): Promise<number> {
    return this.#inTurn('drain', () => this.#work(Number.POSITIVE_INFINITY, maxJobs))
  }

  advance(ms: number): Promise<number> {
    return this.#inTurn('advance', async () => {
      const until = this.#timetable.now + ms
      if (!(ms >= 0) || Number.isNaN(new Date(until).getTime())) {
        throw new InvalidOptionError(`advance(${ms}): use milliseconds from 0, up to the last Date that there is.`)
      }
      let runs = 0
      for (let slot = this.#schedules.take(until); slot; slot = this.#schedules.take(until)) {
        runs += await this.#work(slot.at)
        this.#timetable.now = slot.at
        this.#add(this, slot.job, await this.#argsOf(slot.job))
        if (runs > ENDLESS) throw new InvalidOptionError(NO_END)
      }
      runs += await this.#work(until)
      this.#timetable.now = until
      return runs
    })
  }

  attach(executor: Executor): Undo {
    const undo = divertEnqueues(this.#sink, executor)
    this.#attached.push(executor)
    return undoOnce(() => {
      undo()
      this.#attached.splice(this.#attached.lastIndexOf(executor), 1)
    })
  }

  intercept(): Undo {
    return undoOnce(divertEnqueues(this.#sink))
  }

  enqueued(task: Task<any, any, any> | string, match?: Match<any>): EagerJob<any>[] {
    const name = typeof task === 'string' ? task : task.name
    return this.jobs.filter((job) => job.task === name && (match === undefined || matches(job.args, match)))
  }

  assertEnqueued(task: Task<any, any, any> | string, match?: Match<any>): EagerJob<any>[] {
    const found = this.enqueued(task, match)
    if (found.length > 0) return found
    const message = describeMissing(typeof task === 'string' ? task : task.name, match, this.jobs)
    throw new AssertionError({ message, stackStartFn: this.assertEnqueued })
  }

  clear(): void {
    this.#forget(new Set(this.#entries))
    this.#schedules.clear()
  }

  /** The queue takes jobs, not statements. */
  query(sql: string): never {
    throw new InvalidOptionError(
      `An eager queue has no database, so it runs no SQL: it is for enqueue() and schedule() alone. Asked for: ${sql.trim().slice(0, 80)}`,
    )
  }

  readonly #sink: EnqueueSink = {
    enqueue: (executor, jobs, schema) => this.#enqueue(executor, jobs, schema),
    schedule: async (schedule, schema) => {
      this.#checkSchema(schema, schedule.job)
      return this.#schedules.put(schedule, this.#timetable.now)
    },
  }

  async #enqueue(executor: Executor, jobs: readonly NewJob[], schema: string): Promise<EnqueueResult[]> {
    this.#checkSchema(schema, jobs[0]!)
    const inline = this.options.mode !== 'manual'
    const stranded = jobs.find((job) => !this.#serves(job))
    if (inline && stranded) throw this.#whyNotServed(stranded)
    const args = await Promise.all(jobs.map((job) => this.#argsOf(job)))
    const results = jobs.map((job, index) => this.#put(executor, job, args[index]))
    if (inline && !this.#isInsideHandler()) await this.#inTurn('enqueue', () => this.#work(this.#timetable.now))
    return results
  }

  #put(executor: Executor, job: NewJob, args: unknown): EnqueueResult {
    const { now } = this.#timetable
    const holder = this.#keys.holder(job, now)
    if (!holder) {
      const entry = this.#add(executor, job, args)
      this.#keys.take(job, entry, now)
      return { status: 'inserted', id: entry.job.id }
    }
    if (holder.replace) {
      this.#replace(holder.entry, job, args)
      this.#keys.take(job, holder.entry, now)
    }
    return { status: holder.replace ? 'replaced' : 'duplicate', id: holder.entry.job.id }
  }

  /** Puts other contents into a job that waits. */
  #replace(
    entry: Entry,
    { queue, priority, args: argsText, retry, unique, meta, ...job }: NewJob,
    args: unknown,
  ): void {
    Object.assign(entry.job, { queue, priority, args, attempts: 0, errors: [] })
    Object.assign(entry, { argsText, retry: storedRetry(retry), meta: metaOf({ unique, meta }) })
    this.#timetable.move(entry, timeOf(job, this.#timetable.now))
  }

  /** In another schema these jobs would be others' work, whatever their task is called. */
  #checkSchema(schema: string, { task }: NewJob): void {
    if (this.#schema === undefined || schema === this.#schema) return
    throw new InvalidOptionError(
      `A job of task "${task}" would be enqueued in schema "${schema}", and the handlers here are of schema "${this.#schema}": no worker of these would run it. Say { schema: ${JSON.stringify(this.#schema)} }, or give that schema an eager queue of its own.`,
    )
  }

  /** What the handler will see; of args that it will not see, the JSON. */
  async #argsOf(job: NewJob): Promise<unknown> {
    const args: unknown = JSON.parse(job.args)
    try {
      return await (this.#handlers.get(job.task)?.task.parse(args) ?? args)
    } catch {
      return args
    }
  }

  #add(
    executor: Executor,
    { task, queue, priority, args: argsText, retry, unique, meta, ...job }: NewJob,
    args: unknown,
  ): Entry {
    const { now } = this.#timetable
    const entry: Entry = {
      job: {
        id: String(this.#nextId++),
        task,
        queue,
        priority,
        args,
        state: 'waiting',
        reason: null,
        attempts: 0,
        errors: [],
        createdAt: new Date(now),
        executeAt: null,
      },
      argsText,
      retry: storedRetry(retry),
      meta: metaOf({ unique, meta }),
      executor,
      position: 0,
      readyAt: now,
      finished: false,
    }
    this.#entries.push(entry)
    this.#timetable.add(entry, timeOf(job, now))
    return entry
  }

  async #work(until: number, maxJobs?: number): Promise<number> {
    let runs = 0
    for (; runs < (maxJobs ?? ENDLESS); runs++) {
      const entry = this.#timetable.next(until, ({ job }) => this.#serves(job))
      if (!entry) break
      await this.#run(entry)
    }
    if (runs === maxJobs) return runs
    if (runs === ENDLESS) throw new InvalidOptionError(NO_END)
    const stranded = this.#timetable.findReady(({ job }) => !this.#serves(job))
    if (stranded) throw this.#whyNotServed(stranded.job)
    return runs
  }

  async #run(entry: Entry): Promise<void> {
    const handler = this.#handlers.get(entry.job.task)!
    const trx = this.#transactionFor(entry)
    const before = this.#entries.length
    entry.job.state = 'running'
    entry.job.attempts += 1
    const outcome = await this.#insideHandler.run(true, () => runJob(handler, entry, trx))
    if (outcome.type !== 'success' && handler.task.mode === 'transactional') {
      // Rolled back, as all that it wrote there.
      this.#forget(new Set(this.#entries.slice(before).filter(({ executor }) => executor === trx)))
    }
    const settlement = this.#settle(entry, handler, outcome)
    const failure = failureOf(outcome, settlement)
    if (failure && this.options.onError !== 'record') throw failure.error
  }

  #settle(entry: Entry, { task }: Handler, outcome: Outcome): Settlement {
    const settled = { attempt: entry.job.attempts, retry: entry.retry ?? null }
    // random: 0 is the longest delay, so that tests see the same one each time.
    const given = { mayRetry: task.mode !== 'at-most-once', now: this.now, random: 0 }
    const settlement = decideSettlement(settled, outcome, task.retry, given)
    this.#timetable.settle(entry, settlement)
    return settlement
  }

  #transactionFor({ executor }: Entry): Transaction<any> | undefined {
    const attached = this.#attached.toReversed()
    const own = attached.filter((one) => one === executor)
    return [...own, ...attached, executor].find(isTransaction)
  }

  #forget(entries: ReadonlySet<Entry>): void {
    this.#entries = this.#entries.filter((entry) => !entries.has(entry))
    this.#timetable.remove(entries)
    this.#keys.forget(entries)
  }

  #serves({ task, queue }: Kind): boolean {
    return this.#handlers.has(task) && this.#queues.has(queue)
  }

  #whyNotServed({ task, queue }: Kind): Error {
    if (!this.#handlers.has(task)) return new UnknownTaskError(task)
    return new InvalidOptionError(
      `A job of task "${task}" is on queue "${queue}", which is not served, so it would wait for ever. Served are those of the handlers' tasks, unless you name them: eagerQueue({ queues }). Here: ${[...this.#queues].join(', ')}.`,
    )
  }

  #isInsideHandler(): boolean {
    return this.#working && this.#insideHandler.getStore() === true
  }

  async #inTurn<Result>(what: string, work: () => Promise<Result>): Promise<Result> {
    if (this.#isInsideHandler()) {
      throw new InvalidOptionError(`${what}() inside a handler would wait for itself. Call it in the test.`)
    }
    const turn = this.#turn.then(async () => {
      this.#working = true
      return work().finally(() => {
        this.#working = false
      })
    })
    this.#turn = turn.catch(() => {})
    return turn
  }
}

/** As the database would have it: what is undefined is left to the task. */
const storedRetry = (retry: NewJob['retry']): NewJob['retry'] => retry && JSON.parse(JSON.stringify(retry))

/** When it may run. */
const timeOf = ({ executeAt, delayMs = 0 }: Pick<NewJob, 'executeAt' | 'delayMs'>, now: number): number =>
  executeAt?.getTime() ?? now + delayMs

const metaOf = ({ unique, meta }: Pick<NewJob, 'unique' | 'meta'>): NewJob['meta'] =>
  unique ? { ...meta, key: unique.key } : meta

/** What decides whether a job runs here. */
type Kind = Pick<NewJob, 'task' | 'queue'>

function servedQueues(
  queues: readonly string[] | undefined,
  handlers: ReadonlyMap<string, Handler>,
): ReadonlySet<string> {
  if (queues === undefined) return new Set([...handlers.values()].map(({ task }) => task.queue))
  if (!Array.isArray(queues) || queues.length === 0) {
    throw new InvalidOptionError("eagerQueue: queues must be a list of names, as in ['default'], or left out.")
  }
  for (const queue of queues) checkName(queue, 'queue')
  return new Set(queues)
}

/** That of the handlers' tasks: no worker takes handlers of two. */
function schemaOf(handlers: ReadonlyMap<string, Handler>): string | undefined {
  const [first, ...others] = [...handlers.values()].map(({ task }) => task)
  const other = others.find(({ schema }) => schema !== first!.schema)
  if (!other) return first?.schema
  throw new InvalidOptionError(
    `Task "${other.name}" is defined in schema "${other.schema}", task "${first!.name}" in "${first!.schema}": give each schema an eager queue of its own, as it has its own workers.`,
  )
}

const NO_END = `${ENDLESS} runs and no end: a job brings itself back for ever. Stop earlier with drain({ maxJobs }).`

function checkNow(now: Date): number {
  if (now instanceof Date && !Number.isNaN(now.getTime())) return now.getTime()
  throw new InvalidOptionError(`eagerQueue: now is ${shown(now)}; use a valid Date.`)
}

function checkChoice(name: string, value: string | undefined, choices: readonly string[]): void {
  if (value === undefined || choices.includes(value)) return
  throw new InvalidOptionError(`eagerQueue: ${name} is ${shown(value)}; use ${choices.join(' or ')}.`)
}

/** What the test should hear of: failures, but not what a handler decided on purpose. Boxed: undefined can be thrown. */
function failureOf(outcome: Outcome, settlement: Settlement): { readonly error: unknown } | undefined {
  if (outcome.type === 'error' || outcome.type === 'fail') return { error: outcome.error }
  if (settlement.kind !== 'bury' || settlement.reason === 'cancelled') return undefined
  const error = outcome.type === 'retry' ? outcome.error : undefined
  return { error: error ?? new Error(settlement.error?.message) }
}
