import { context, diag, propagation, SpanKind, trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  ParentBasedSampler,
  type ReadableSpan,
  type Sampler,
  SamplingDecision,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { afterAll, afterEach } from 'vitest'

/** The SDK as an application registers it, with what it exports kept in memory. sampled: which roots are recorded, by name. */
export function recordSpans({ sampled = () => true }: { sampled?: (name: string) => boolean } = {}) {
  const exporter = new InMemorySpanExporter()
  const root: Sampler = {
    shouldSample: (_context, _traceId, name) => ({
      decision: sampled(name) ? SamplingDecision.RECORD_AND_SAMPLED : SamplingDecision.NOT_RECORD,
    }),
  }
  const sampler = new ParentBasedSampler({ root })
  const provider = new NodeTracerProvider({ sampler, spanProcessors: [new SimpleSpanProcessor(exporter)] })
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
