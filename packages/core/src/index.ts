export { cancelJobs } from './cancel-jobs.js'
export type { ConcurrencyOptions } from './concurrency.js'
export type { DeadReason, JobState, PgqDatabase } from './database.js'
export { type AroundEnqueue, aroundEnqueue, type EnqueueOptions, enqueue, enqueueMany } from './enqueue.js'
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
export type { Executor, KyselyLike, PreparingClient, SqlClient } from './executor.js'
export type { DeliveryModeName, Job, JobMeta, JobOf, LeasedJob, TransactionalJob } from './job.js'
export type { DeadJobFilter, JobFilter, JobFilters, UnfinishedJobFilter, WaitingJobFilter } from './job-filter.js'
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
export type { ScheduleOptions } from './new-schedule.js'
export { cancel, Decision, fail, type Outcome, retryAfter, snooze } from './outcome.js'
export { pauseQueue, type QueueOptions, resumeQueue } from './queues.js'
export type { BackoffFunction, RetryPolicy, TaskRetryPolicy } from './retry-policy.js'
export { pauseSchedule, removeSchedule, resumeSchedule, runSchedule, type ScheduleResult } from './schedules.js'
export type { JobError, Settlement } from './settlement.js'
export type { CatchUp } from './slots.js'
export type { JobEnd } from './stats.js'
export {
  defineTask,
  type Handler,
  handleAll,
  type JobInput,
  type Json,
  type JsonValue,
  Task,
  type TaskOptions,
  typed,
} from './task.js'
export type { UniqueOptions } from './unique.js'
export type { EnqueueResult, NewJob } from './write-jobs.js'

// From here on for pgq's own packages alone, which are of one version: what stands here may change with each.

// Kysely's part of what statements are written with: built into this package, and shared by the others.
export { CompiledQuery, type RawBuilder, sql } from 'kysely'
export { type ClaimedJob, fenceLease, readLease } from './batch.js'
export { cancelChannel } from './cancel-jobs.js'
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
export {
  type ConcurrencyPlace,
  claimParkedIntoLease,
  concurrencyOf,
  findFreePlaces,
  forgetHolds,
  type ParkedRequest,
  parkRefusedJobs,
  refuseJobs,
} from './concurrency.js'
export { hangDoorbell, ringDoorbell, takeDoorbell } from './doorbell.js'
export { storableText } from './encode-args.js'
export { divertEnqueues, type EnqueueSink } from './enqueue.js'
export { checkExecutor, sqlStateOf } from './executor.js'
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
export { fireSchedules, timingOf } from './fire-schedules.js'
export { forgetKeys, KEYS_A_LOOK, type KeyPlace } from './forget-keys.js'
export { HandledJob } from './job.js'
export { checkJobId, waitingState } from './job-filter.js'
export { checkName, checkSchemaName, DEFAULT_SCHEMA } from './names.js'
export { checkOptionNames, optionNames, shown, unknownName } from './option-names.js'
export { isOutcome } from './outcome.js'
export { isError } from './read-thrown.js'
export { type Rescue, rescueLostWorkers } from './rescue.js'
export { resolveRetry } from './retry-policy.js'
export { runHandler } from './run-handler.js'
export { firstSlot, type NewSchedule } from './schedules.js'
export { acknowledge, type Restore, type Return, restoreJobs, returnJobs } from './settle.js'
export { decideSettlement } from './settlement.js'
export { slotsOf, type Timing } from './slots.js'
export { defineStatement, type StatementParts } from './statement.js'
export { bucketEndMs, bucketOf, compactStats, type JobStats, recordStats, STATS_BATCH } from './stats.js'
export { claimSuspectAndDelete, claimSuspectIntoLease, goAlone, type SuspectRequest } from './suspects.js'
export { handlersByTask } from './task.js'
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
export { isRefusal } from './write-jobs.js'
