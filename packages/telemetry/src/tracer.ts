import {
  type Attributes,
  diag,
  type Span,
  SpanStatusCode,
  type Tracer,
  type TracerProvider,
  trace,
} from '@opentelemetry/api'
import { isError, storableText } from '@pgq/core'

/** Options of traceEnqueues and traceHandlers. */
export interface TraceOptions {
  /** Where spans go. Default: the provider that is registered globally, also when that happens later. */
  readonly tracerProvider?: TracerProvider
}

export const tracerOf = ({ tracerProvider }: TraceOptions): Tracer =>
  tracerProvider ? tracerProvider.getTracer(SCOPE) : trace.getTracer(SCOPE)

const SCOPE = '@pgq/telemetry'

/**
 * What every span of this package says, to be added to: spreading it into other attributes takes a microsecond. Source:
 * OpenTelemetry, semantic conventions for messaging spans.
 */
export function messagingAttributes(operation: 'send' | 'process', queue: string | undefined): Attributes {
  const attributes: Attributes = {
    'messaging.system': 'pgq',
    'messaging.operation.name': operation,
    'messaging.operation.type': operation,
  }
  if (queue !== undefined) attributes['messaging.destination.name'] = queue
  return attributes
}

const MAX_MESSAGE = 4_000

/** Marks a span as failed by whatever was thrown. Of database errors not the detail: it prints rows. */
export function recordFailure(span: Span, error: unknown): void {
  const message = storableText(isError(error) ? error.message : error, MAX_MESSAGE)
  const { name, stack } = isError(error) ? error : { name: 'Error', stack: undefined }
  const code: unknown = (error as { code?: unknown } | null | undefined)?.code
  const type = typeof code === 'string' ? code : name
  span.recordException({ name: type, message, ...(stack !== undefined && { stack }) })
  span.setAttribute('error.type', type)
  span.setStatus({ code: SpanStatusCode.ERROR, message })
}

/** Tracing must not break work: what a processor or a propagator throws goes to OpenTelemetry's own log. */
export function quietly<Value>(act: () => Value): Value | undefined {
  try {
    return act()
  } catch (error) {
    diag.error('pgq: tracing failed', error)
    return undefined
  }
}
