/** The literal codes of all errors that pgq throws; stable, so that callers can branch on them. */
export type PgqErrorCode =
  | 'PGQ_INVALID_OPTION'
  | 'PGQ_INVALID_ARGS'
  | 'PGQ_NOT_SERIALISABLE'
  | 'PGQ_ARGS_TOO_LARGE'
  | 'PGQ_NOT_MIGRATED'
  | 'PGQ_STANDBY'
  | 'PGQ_LOST_LEASE'
  | 'PGQ_UNKNOWN_TASK'
  | 'PGQ_TIMEOUT'
  | 'PGQ_WORKER_STOPPING'
  | 'PGQ_CANCELLED'

/** Every error that pgq throws itself. `code` is stable; the message says what was asked, what is wrong and what to do. */
export class PgqError extends Error {
  override readonly name: string = 'PgqError'

  constructor(
    readonly code: PgqErrorCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

/** An option that is missing, out of range, or that cannot go with another, or a call that cannot be made there. Thrown before anything was written. */
export class InvalidOptionError extends PgqError {
  override readonly name = 'InvalidOptionError'

  constructor(message: string) {
    super('PGQ_INVALID_OPTION', message)
  }
}

/** Args that the task's schema refuses. Thrown by enqueue (nothing was written); in a worker it ends the job for good. */
export class InvalidArgsError extends PgqError {
  override readonly name = 'InvalidArgsError'

  constructor(
    readonly task: string,
    readonly issues: readonly { readonly message: string; readonly path: string }[],
  ) {
    const list = issues.map(({ path, message }) => `${path}: ${message}`).join('; ')
    super('PGQ_INVALID_ARGS', `The args of task "${task}" do not fit its schema: ${list}.`)
  }
}

/** A value that JSON cannot carry unchanged. `path` names it, as in `args.items[2].price`. */
export class NotSerialisableError extends PgqError {
  override readonly name = 'NotSerialisableError'

  constructor(
    readonly path: string,
    what: string,
    options?: ErrorOptions,
  ) {
    super(
      'PGQ_NOT_SERIALISABLE',
      `${path} is ${what}, which would not come back as it went in. ${remedyFor(what, path)}`,
      options,
    )
  }
}

function remedyFor(what: string, path: string): string {
  if (what !== 'undefined') return 'Pass a string, number, boolean, null, array or plain object.'
  return path === 'args' ? 'Pass null, or {} when the task needs none.' : 'Leave the key out, or pass null.'
}

/** Args over the size limit. Store the data in a table of your own and pass its id, or raise maxArgsBytes. */
export class ArgsTooLargeError extends PgqError {
  override readonly name = 'ArgsTooLargeError'

  constructor(
    readonly bytes: number,
    readonly maxBytes: number,
  ) {
    super(
      'PGQ_ARGS_TOO_LARGE',
      `The args take ${bytes} bytes as JSON; the limit is ${maxBytes}. Store the data elsewhere and pass its id, or raise maxArgsBytes.`,
    )
  }
}

/** The tables of this schema are missing or older than this version needs. */
export class NotMigratedError extends PgqError {
  override readonly name = 'NotMigratedError'

  constructor(schema: string, cause: unknown) {
    super(
      'PGQ_NOT_MIGRATED',
      `The schema "${schema}" of this database is not migrated for this version of pgq. Run migrate() of @pgq/migrations, or pass the schema that you migrated.`,
      { cause },
    )
  }
}

/** The database is a standby: it can be read, but no job can be claimed there. */
export class StandbyError extends PgqError {
  override readonly name = 'StandbyError'

  constructor() {
    super('PGQ_STANDBY', 'This database is a standby, which cannot be written to: connect the worker to the primary.')
  }
}

/** The claim is no longer ours: the worker was taken for dead and the job went back. Its result must be dropped. */
export class LostLeaseError extends PgqError {
  override readonly name = 'LostLeaseError'

  constructor(readonly jobId: string) {
    super(
      'PGQ_LOST_LEASE',
      `Job ${jobId} is no longer held by this worker: it was given to another one. Its result was dropped; stop working on it.`,
    )
  }
}

/** A job whose task has no handler here. */
export class UnknownTaskError extends PgqError {
  override readonly name = 'UnknownTaskError'

  constructor(readonly task: string) {
    super('PGQ_UNKNOWN_TASK', `There is no handler for task "${task}". Add task.handle(...) to handlers.`)
  }
}

/** A handler that did not end within its task's timeoutMs. Its AbortSignal carries this error as the reason. */
export class TimeoutError extends PgqError {
  override readonly name = 'TimeoutError'

  constructor(
    readonly jobId: string,
    readonly timeoutMs: number,
  ) {
    super('PGQ_TIMEOUT', `Job ${jobId} ran longer than ${timeoutMs} ms, the timeoutMs of its task.`)
  }
}

/** A running job that cancelJobs named: the reason that its handler's AbortSignal carries. */
export class CancelledError extends PgqError {
  override readonly name = 'CancelledError'

  constructor(readonly jobId: string) {
    super('PGQ_CANCELLED', `Job ${jobId} was cancelled while it ran: end its handler. It becomes a dead letter.`)
  }
}

/** The worker is stopping and its grace period is over: the reason that a running handler's AbortSignal carries. */
export class WorkerStoppingError extends PgqError {
  override readonly name = 'WorkerStoppingError'

  constructor() {
    super('PGQ_WORKER_STOPPING', 'The worker is stopping, and the time that it leaves its handlers is over.')
  }
}
