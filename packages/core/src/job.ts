import type { Transaction } from 'kysely'
import type { Executor } from './executor.js'

/**
 * What a delivery mode promises:
 * - at-least-once: a job runs until it is finished; after a crash it may run again.
 * - at-most-once: a job runs once or, after a crash, not at all; it is never retried.
 * - transactional: the handler's writes through job.trx and the end of the job commit together or not at all.
 */
export type DeliveryModeName = 'at-least-once' | 'at-most-once' | 'transactional'

/** What travels with a job beside its args, such as a trace context: not for the handler's work. */
export type JobMeta = Readonly<Record<string, string>>

/** A job as its handler sees it, beside its args. */
export interface Job {
  /** A bigint, as a string. */
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  /** Which run of the handler this is, from 1. Snoozes and crashes of the worker do not count. */
  readonly attempt: number
  /** Runs in all: after a failure of the last one the job is a dead letter. 1 with at-most-once. */
  readonly maxAttempts: number
  /** Workers that were lost while they ran this job. */
  readonly crashCount: number
  readonly createdAt: Date
  /** Since when the job could have run: its creation, or its executeAt. */
  readonly readyAt: Date
  /** What travelled beside the args; empty when nothing did. */
  readonly meta: JobMeta
  /** Aborts when the task's timeout is over, the job is cancelled, the worker stops and its grace is over, or the lease is lost. */
  readonly signal: AbortSignal
}

/** What is stored of it. */
type StoredJob = Omit<Job, 'maxAttempts' | 'meta' | 'signal'> & { readonly meta: JobMeta | null }

/** The rest of it, by whoever runs it: finish with at-least-once, trx with transactional. */
interface JobRunner extends Pick<Job, 'maxAttempts' | 'signal'> {
  readonly finish: LeasedJob['finish'] | undefined
  readonly trx: Transaction<any> | undefined
}

/**
 * The job as its handler gets it, of a worker and of an eager queue alike: a copy of it holds what is stored. A class, because an object of
 * closures costs each job 0.5 us; without a parent, which would cost 0.03.
 */
export class HandledJob implements Job {
  readonly id: string
  readonly task: string
  readonly queue: string
  readonly priority: number
  readonly attempt: number
  readonly crashCount: number
  readonly createdAt: Date
  readonly readyAt: Date
  readonly meta: JobMeta
  readonly #runner: JobRunner

  constructor(job: StoredJob, runner: JobRunner) {
    this.id = job.id
    this.task = job.task
    this.queue = job.queue
    this.priority = job.priority
    this.attempt = job.attempt
    this.crashCount = job.crashCount
    this.createdAt = job.createdAt
    this.readyAt = job.readyAt
    this.meta = job.meta ?? NO_META
    this.#runner = runner
  }

  get maxAttempts(): number {
    return this.#runner.maxAttempts
  }

  get signal(): AbortSignal {
    return this.#runner.signal
  }

  get finish(): LeasedJob['finish'] | undefined {
    return this.#runner.finish
  }

  get trx(): Transaction<any> | undefined {
    return this.#runner.trx
  }
}

const NO_META: JobMeta = Object.freeze({})

/** A job of the at-least-once mode. */
export interface LeasedJob extends Job {
  /**
   * Completes the job inside the handler's own transaction: its writes and the completion commit together, so they
   * happen exactly once. Call it as a part of that transaction; throws LostLeaseError when the job is no longer ours (roll
   * back then). If the transaction rolls back, the job is not finished.
   */
  finish(trx: Executor): Promise<void>
}

/** A job of the transactional mode. */
export interface TransactionalJob<DB> extends Job {
  /** The transaction in which the job ends. The worker commits it after the handler and rolls the handler's part back on failure. */
  readonly trx: Transaction<DB>
}

/** What a handler receives, by the delivery mode of its task. */
export type JobOf<Mode extends DeliveryModeName, DB = any> = Mode extends 'transactional'
  ? TransactionalJob<DB>
  : Mode extends 'at-least-once'
    ? LeasedJob
    : Job
