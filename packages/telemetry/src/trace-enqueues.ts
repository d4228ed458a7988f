import { type Context, context, propagation, type Span, SpanKind, type Tracer, trace } from '@opentelemetry/api'
import { aroundEnqueue, type EnqueueResult, type NewJob } from '@pgq/core'
import { messagingAttributes, quietly, recordFailure, type TraceOptions, tracerOf } from './tracer.js'

/**
 * Gives every enqueue of this process a span `send <queue>`, and its jobs the trace context, as the globally registered
 * propagator writes it (traceparent, tracestate): beside the args, in the job's meta. Answers how to stop. A span says that
 * the statement was run; whether the caller's transaction commits it does not know.
 */
export function traceEnqueues(options: TraceOptions = {}): () => void {
  const tracer = tracerOf(options)
  return aroundEnqueue(async (jobs, next) => {
    const sending = quietly(() => beginToSend(tracer, jobs))
    if (!sending) return next(jobs)
    const { span } = sending
    try {
      const results = await context.with(sending.context, next, undefined, sending.jobs)
      quietly(() => noteResult(span, results))
      return results
    } catch (error) {
      quietly(() => recordFailure(span, error))
      throw error
    } finally {
      quietly(() => span.end())
    }
  })
}

interface Sending {
  readonly span: Span
  readonly context: Context
  readonly jobs: readonly NewJob[]
}

function beginToSend(tracer: Tracer, jobs: readonly NewJob[]): Sending {
  const [first] = jobs
  const queue = jobs.every((job) => job.queue === first?.queue) ? first?.queue : undefined
  const attributes = messagingAttributes('send', queue)
  if (jobs.length > 1) attributes['messaging.batch.message_count'] = jobs.length
  if (first) attributes['pgq.task'] = first.task
  const name = queue === undefined ? 'send' : `send ${queue}`
  const span = tracer.startSpan(name, { kind: SpanKind.PRODUCER, attributes })
  const within = trace.setSpan(context.active(), span)
  const carrier: Record<string, string> = {}
  propagation.inject(within, carrier)
  const hasContext = Object.keys(carrier).length > 0
  return {
    span,
    context: within,
    jobs: hasContext ? jobs.map((job) => ({ ...job, meta: job.meta ? { ...job.meta, ...carrier } : carrier })) : jobs,
  }
}

/** Of a duplicate, the id is that of the job which has the key: its trace is another one. */
function noteResult(span: Span, results: readonly EnqueueResult[]): void {
  const [result] = results
  if (!result || results.length > 1) return
  span.setAttribute('messaging.message.id', result.id)
  if (result.status !== 'inserted') span.setAttribute('pgq.status', result.status)
}
