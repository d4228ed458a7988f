import { context, propagation, ROOT_CONTEXT, SpanKind, trace } from '@opentelemetry/api'
import {
  BatchSpanProcessor,
  NodeTracerProvider,
  ParentBasedSampler,
  type SpanExporter,
  TraceIdRatioBasedSampler,
} from '@opentelemetry/sdk-trace-node'
import { traceEnqueues, traceHandlers } from '@pgq/telemetry/opentelemetry'
import { metricsHandler, observeWorker } from '@pgq/telemetry/prometheus'
import { Registry } from 'prom-client'
import { type Extras, pgq, startWorker } from './pgq.js'
import type { System } from './system.js'

const SCRAPE_MS = 1_000

/** pgq with its metrics counted, and scraped more often than anybody would. */
export const pgqPrometheus: System = {
  ...pgq,
  async worker(place, options) {
    const registry = new Registry()
    const answer = metricsHandler({ registry })
    const scrape = async () => (await answer(new Request('http://127.0.0.1/metrics'))).text()
    await scrape() // the first one loads what fetch is made of, 40 ms
    const timer = setInterval(scrape, SCRAPE_MS)
    const worker = await startWorker(place, options, { observe: (one) => observeWorker(one, { registry }) })
    return {
      async stop() {
        clearInterval(timer)
        await worker.stop()
      },
    }
  },
}

type Around = NonNullable<NonNullable<Extras['settings']>['around']>

/** pgq with a share of its traces recorded. Every job carries a trace context. */
const pgqTraced = (share: number, around: () => Around = traceHandlers): System => ({
  ...pgq,
  async producer(place) {
    recordTraces(share)
    traceEnqueues()
    return pgq.producer(place)
  },
  async worker(place, options) {
    recordTraces(share)
    return startWorker(place, options, { settings: { around: around() } })
  },
})

/** Every trace. */
export const pgqTraces = pgqTraced(1)

/** One in a hundred, as a busy queue would. */
export const pgqSampledTraces = pgqTraced(0.01)

/** What of that is the SDK's: a span with as many attributes, begun and ended around each handler, and nothing of ours. */
const bareSpans = (): Around => {
  const tracer = trace.getTracer('bare')
  return ({ id, queue, task, attempt, meta }, next) => {
    const sender = propagation.extract(ROOT_CONTEXT, meta)
    const attributes = { a: 'pgq', b: 'process', c: 'process', d: queue, e: id, f: task, g: attempt, h: 'success' }
    const span = tracer.startSpan(`process ${queue}`, { kind: SpanKind.CONSUMER, attributes }, sender)
    return context.with(trace.setSpan(sender, span), next).finally(() => span.end())
  }
}
export const sdkTraces = pgqTraced(1, bareSpans)
export const sdkSampledTraces = pgqTraced(0.01, bareSpans)

/** And what it takes Node alone to know which context is active: no span, no trace. */
export const sdkContext = pgqTraced(0.01, () => {
  const active = ROOT_CONTEXT.setValue(Symbol('active'), true)
  return (_job, next) => context.with(active, next)
})

let provider: NodeTracerProvider | undefined

/** The SDK with its usual batches; what is recorded goes nowhere, as the network and the collector are not ours. */
function recordTraces(share: number): void {
  if (provider) return
  provider = new NodeTracerProvider({
    sampler: new ParentBasedSampler({ root: new TraceIdRatioBasedSampler(share) }),
    spanProcessors: [new BatchSpanProcessor(nowhere, { maxQueueSize: 20_000 })],
  })
  provider.register()
}

const nowhere: SpanExporter = {
  export: (_spans, done) => done({ code: 0 }),
  shutdown: async () => {},
}
