import { ConsoleSpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node'
import { traceEnqueues, traceHandlers } from '@pgq/telemetry/opentelemetry'

/** Traces every enqueue, and every run of a handler as its child: printed here. In production, your SDK with your exporter. */
export function shopTracing() {
  const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(new ConsoleSpanExporter())] })
  provider.register()
  traceEnqueues()
  return { around: traceHandlers(), close: () => provider.shutdown() }
}
