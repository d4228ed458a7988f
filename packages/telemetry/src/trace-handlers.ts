import {
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { Job, Outcome } from '@pgq/core'
import { messagingAttributes, quietly, recordFailure, type TraceOptions, tracerOf } from './tracer.js'

/**
 * Gives every run of a handler a span `process <queue>`, active while the handler runs: for the worker's option `around`. The
 * first run is a child of the span that enqueued the job. A later one may be hours away: it begins a trace of its
 * own, linked to that span.
 */
export function traceHandlers(
  options: TraceOptions = {},
): (job: Job, next: () => Promise<Outcome>) => Promise<Outcome> {
  const tracer = tracerOf(options)
  return async (job, next) => {
    const run = quietly(() => begin(tracer, job))
    if (!run) return next()
    const { span } = run
    try {
      const outcome = await context.with(run.context, next)
      quietly(() => noteOutcome(span, job, outcome))
      return outcome
    } catch (error) {
      quietly(() => recordFailure(span, error))
      throw error
    } finally {
      quietly(() => span.end())
    }
  }
}

function begin(tracer: Tracer, job: Job): { readonly span: Span; readonly context: Context } {
  const { id, queue, task, attempt, meta } = job
  // Not the active context: that is of whoever started the worker.
  const carried = propagation.extract(ROOT_CONTEXT, meta)
  const sender = trace.getSpanContext(carried)
  const isFirst = attempt === 1
  const parent = isFirst ? carried : trace.deleteSpan(carried)
  const span = tracer.startSpan(
    `process ${queue}`,
    {
      kind: SpanKind.CONSUMER,
      links: sender && !isFirst ? [{ context: sender }] : [],
      attributes: {
        ...messagingAttributes('process', queue),
        'messaging.message.id': id,
        'pgq.task': task,
        'pgq.attempt': attempt,
      },
    },
    parent,
  )
  return { span, context: trace.setSpan(parent, span) }
}

/** success, error, retry, snooze, cancel or fail; a handler that puts its job off or cancels it has not failed. */
function noteOutcome(span: Span, job: Job, outcome: Outcome): void {
  span.setAttribute('pgq.outcome', outcome.type)
  if (!('error' in outcome)) return
  const asked = outcome.type === 'retry' && outcome.error === undefined
  const error = asked ? new Error('The handler asked for a retry.') : outcome.error
  // What it threw on its way out after a timeout is not what went wrong. The signal is made when it is asked for: not before.
  recordFailure(span, job.signal.aborted ? job.signal.reason : error)
}
