// Kysely's part of what statements are written with: built into this package, and shared by the others.
export { CompiledQuery, type RawBuilder, sql } from 'kysely'
export { type ClaimedJob, fenceLease, readLease } from './batch.js'
export { cancelChannel, cancelJobs } from './cancel-jobs.js'
export {
  type ClaimRequest,
  claimAndDelete,
  claimIntoLease,
  claimRank,
  findUnknownTasks,
  jobRank,
  promoteDueJobs,
  SUSPECT_CRASHES,
} from './claim.js'
export type { DeadReason, JobState, PgqDatabase } from './database.js'
export { hangDoorbell, ringDoorbell, takeDoorbell } from './doorbell.js'
export { DEFAULT_MAX_ARGS_BYTES, encodeArgs, storableText } from './encode-args.js'
export {
  type AroundEnqueue,
  aroundEnqueue,
  divertEnqueues,
  type EnqueueOptions,
  type EnqueueSink,
  enqueue,
  enqueueMany,
} from './enqueue.js'
export {
  ArgsTooLargeError,
  CancelledError,
  InvalidArgsError,
  InvalidOptionError,
  LostLeaseError,
  NotMigratedError,
  NotSerialisableError,
  PgqError,
  type PgqErrorCode,
  StandbyError,
  TimeoutError,
  UnknownTaskError,
  WorkerStoppingError,
} from './errors.js'
export {
  checkExecutor,
  type Executor,
  type KyselyLike,
  type PreparingClient,
  type SqlClient,
  sqlStateOf,
} from './executor.js'
export {
  areFinished,
  finishHeld,
  finishInTransaction,
  finishLocked,
  finishState,
  holdsLease,
  isUnsettled,
  type LeasePlace,
} from './finish.js'
export { type FiredSchedules, fireSchedules, timingOf } from './fire-schedules.js'
export {
  type DeliveryModeName,
  HandledJob,
  type Job,
  type JobMeta,
  type JobOf,
  type LeasedJob,
  type TransactionalJob,
} from './job.js'
export {
  checkJobId,
  type DeadJobFilter,
  type JobFilter,
  type JobFilters,
  type UnfinishedJobFilter,
  type WaitingJobFilter,
} from './job-filter.js'
export {
  countMatching,
  databaseTime,
  deleteDeadJobs,
  deleteWaitingJobs,
  type ManageOptions,
  redriveDeadJobs,
  retryScheduledJobs,
  setPriority,
} from './manage-jobs.js'
export { checkName, checkSchemaName, DEFAULT_SCHEMA } from './names.js'
export type { ScheduleOptions } from './new-schedule.js'
export { checkOptionNames, optionNames, shown } from './option-names.js'
export { cancel, Decision, fail, isDecision, isOutcome, type Outcome, retryAfter, snooze } from './outcome.js'
export { pauseQueue, type QueueOptions, resumeQueue } from './queues.js'
export { isError } from './read-thrown.js'
export { type Rescue, rescueLostWorkers } from './rescue.js'
export {
  type BackoffFunction,
  DEFAULT_RETRY,
  type RetryPolicy,
  resolveRetry,
  type TaskRetryPolicy,
} from './retry-policy.js'
export { runHandler } from './run-handler.js'
export {
  firstSlot,
  type NewSchedule,
  pauseSchedule,
  removeSchedule,
  resumeSchedule,
  runSchedule,
  type ScheduleResult,
} from './schedules.js'
export { acknowledge, type Restore, type Return, restoreJobs, returnJobs } from './settle.js'
export { decideSettlement, type JobError, type Settlement } from './settlement.js'
export { type CatchUp, slotsOf, type Timing } from './slots.js'
export { defineStatement, type Statement, type StatementParts } from './statement.js'
export { bucketEndMs, bucketOf, compactStats, type JobEnd, type JobStats, recordStats, STATS_BATCH } from './stats.js'
export {
  claimSuspectAndDelete,
  claimSuspectIntoLease,
  goAlone,
  type SuspectRequest,
} from './suspects.js'
export {
  defineTask,
  type Handler,
  handleAll,
  handlersByTask,
  type JobInput,
  type JsonValue,
  Task,
  type TaskOptions,
  typed,
} from './task.js'
export {
  beat,
  endSession,
  heartbeatSql,
  lockLiveness,
  lookAtOthers,
  registerWorker,
  removeWorker,
  serverEpoch,
  tellWorkers,
  type WorkerDescription,
  workersChannel,
} from './workers.js'
export { type EnqueueResult, isRefusal, type NewJob } from './write-jobs.js'
