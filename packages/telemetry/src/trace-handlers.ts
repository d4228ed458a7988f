import {
  type Context,
  context,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import type { Job, JobMeta, Outcome } from '@pgq/core'
import { messagingAttributes, quietly, recordFailure, type TraceOptions, tracerOf } from './tracer.js'

/**
 * So many first runs of jobs whose senders were not sampled, all of them turned down: the sampler follows its parent, as the SDK's default
 * does, and is asked about them no more. To ask takes the SDK 0.9 us.
 */
const CONVINCED = 1_000

/**
 * Gives every run of a handler a span `process <queue>`, active while the handler runs: for the worker's option `around`. Runs of the
 * first attempt, also after a snooze or a redrive, are children of the span that enqueued the job. A later attempt may be hours away: it
 * begins a trace of its own, linked to that span.
 */
export function traceHandlers(
  options: TraceOptions = {},
): (job: Job, next: () => Promise<Outcome>) => Promise<Outcome> {
  const tracer = tracerOf(options)
  const carriedBy = extractor()
  let turnedDown = 0
  const begin = (job: Job): Run => {
    const carried = carriedBy(job.meta)
    const isLeftOut = job.attempt === 1 && isUnsampled(carried)
    if (isLeftOut && turnedDown >= CONVINCED) return { context: carried }
    const run = beginSpan(tracer, job, carried)
    if (isLeftOut) turnedDown = run.span ? Number.NEGATIVE_INFINITY : turnedDown + 1
    return run
  }
  return (job, next) => {
    const run = quietly(() => begin(job))
    if (!run) return next()
    // What is not recorded is active like any other, so that what begins inside is not recorded either. It needs no end.
    return run.span ? record(run.span, run.context, job, next) : context.with(run.context, next)
  }
}

interface Run {
  /** What is recorded. */
  readonly span?: Span
  readonly context: Context
}

function isUnsampled(carried: Context): boolean {
  const sender = trace.getSpanContext(carried)
  return sender !== undefined && !(sender.traceFlags & TraceFlags.SAMPLED)
}

function beginSpan(tracer: Tracer, { id, queue, task, attempt }: Job, carried: Context): Run {
  const sender = attempt === 1 ? undefined : trace.getSpanContext(carried)
  const parent = attempt === 1 ? carried : trace.deleteSpan(carried)
  const attributes = messagingAttributes('process', queue)
  attributes['messaging.message.id'] = id
  attributes['pgq.task'] = task
  attributes['pgq.attempt'] = attempt
  const links = sender ? [{ context: sender }] : []
  const span = tracer.startSpan(`process ${queue}`, { kind: SpanKind.CONSUMER, links, attributes }, parent)
  return { context: trace.setSpan(parent, span), ...(span.isRecording() && { span }) }
}

async function record(span: Span, within: Context, job: Job, next: () => Promise<Outcome>): Promise<Outcome> {
  try {
    const outcome = await context.with(within, next)
    quietly(() => noteOutcome(span, job, outcome))
    return outcome
  } catch (error) {
    quietly(() => recordFailure(span, error))
    throw error
  } finally {
    quietly(() => span.end())
  }
}

/**
 * Reads the context that a job carries. Not into the active context: that is of whoever started the worker. Jobs of one
 * enqueueMany carry the same, so what the last one carried is kept: to read it again takes 0.6 us.
 */
function extractor(): (meta: JobMeta) => Context {
  let last: { readonly meta: JobMeta; readonly context: Context } | undefined
  return (meta) => {
    if (!last || !isSame(meta, last.meta)) last = { meta, context: propagation.extract(ROOT_CONTEXT, meta) }
    return last.context
  }
}

function isSame(a: JobMeta, b: JobMeta): boolean {
  if (a === b) return true
  let fields = 0
  for (const name in a) {
    if (a[name] !== b[name]) return false
    fields += 1
  }
  for (const _ in b) fields -= 1
  return fields === 0
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
