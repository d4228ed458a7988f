export { backlog, type QueueBacklog } from './backlog.js'
export { countFitting, type Fitting } from './count-fitting.js'
export { countJobs, type JobCount } from './count-jobs.js'
export type { CountRequest } from './estimate.js'
export { type Failure, type Failures, type FailuresRequest, failures } from './failures.js'
export type { Evidence, Finding, FindingCode, Severity } from './findings.js'
export { type FoundJob, getJob, type JobDetails } from './get-job.js'
export { getSchedule, type ScheduleDetails } from './get-schedule.js'
export { type Health, health } from './health.js'
export { type DeadJob, listDead } from './list-dead.js'
export { listParked, type ParkedJob } from './list-parked.js'
export { listReady, type ReadyJob } from './list-ready.js'
export { listRunning, type RunningJob } from './list-running.js'
export { listScheduled, type ScheduledJob } from './list-scheduled.js'
export { listSchedules, type Schedule } from './list-schedules.js'
export { listWorkers, type WorkerStatus } from './list-workers.js'
export type { ListedJob, ListRequest, Page, PageRequest } from './page.js'
export { listPausedQueues, type PausedQueue } from './paused-queues.js'
export type { Percentiles } from './percentiles.js'
export type { JobsFilter, KeyedJobsFilter, MonitorOptions } from './question.js'
export type { JobWorker, RunningMode } from './running.js'
export {
  type JobsEnded,
  type Statistics,
  type StatisticsRequest,
  type StatisticsStep,
  statistics,
  statisticsByTask,
  type TaskStatistics,
} from './statistics.js'
