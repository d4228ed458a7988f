import { context, diag, propagation, SpanKind, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type ReadableSpan,
  SimpleSpanProcessor,
  type SpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { afterAll, afterEach } from 'vitest'

/** The SDK as an application registers it, with what it exports kept in memory. */
export function recordSpans(...more: SpanProcessor[]) {
  const exporter = new InMemorySpanExporter()
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter), ...more] })
  provider.register()
  afterEach(() => exporter.reset())
  afterAll(async () => {
    await provider.shutdown()
    for (const api of [trace, context, propagation, diag]) api.disable()
  })
  return {
    provider,
    /** What has ended, in that order. */
    spans: (name?: string): ReadableSpan[] =>
      exporter.getFinishedSpans().filter((span) => name === undefined || span.name === name),
  }
}

/** A span as tests compare it. */
export const seen = ({ name, kind, attributes, status }: ReadableSpan) => ({
  name,
  kind: SpanKind[kind],
  attributes,
  status,
})

export const traceOf = (span: ReadableSpan | undefined) => span?.spanContext().traceId
export const idOf = (span: ReadableSpan | undefined) => span?.spanContext().spanId
