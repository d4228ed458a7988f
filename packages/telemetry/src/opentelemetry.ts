export { traceEnqueues } from './trace-enqueues.js'
export { traceHandlers } from './trace-handlers.js'
export type { TraceOptions } from './tracer.js'
