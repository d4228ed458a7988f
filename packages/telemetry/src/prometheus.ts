export { type MetricsHandlerOptions, metricsHandler } from './metrics-handler.js'
export { type ObserveWorkerOptions, observeWorker } from './observe-worker.js'
export type { ObservedEvents, ObservedJob, ObservedRun, ObservedWorker } from './observed-worker.js'
export { type QueueMetricsOptions, queueMetrics } from './queue-metrics.js'
