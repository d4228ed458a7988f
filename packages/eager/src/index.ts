export type { EagerJob, EagerJobState } from './eager-job.js'
export { type EagerQueue, type EagerQueueOptions, eagerQueue } from './eager-queue.js'
export type { Match, PartialDeep } from './matches.js'
export type { Undo } from './undo.js'
