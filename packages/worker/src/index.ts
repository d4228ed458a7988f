export type { JobLabel, SettledRun, WorkerEvents } from './events.js'
export type { Logger } from './logger.js'
export { type Around, WORKER_OPTIONS, type WorkerOptions } from './options.js'
export { createWorker, type Worker } from './worker.js'
