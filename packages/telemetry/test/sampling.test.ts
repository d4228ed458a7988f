import { trace } from '@opentelemetry/api'
import {
  InMemorySpanExporter,
  NodeTracerProvider,
  type Sampler,
  SamplingDecision,
  SimpleSpanProcessor,
} from '@opentelemetry/sdk-trace-node'
import { defineTask, retryAfter, typed } from '@pgq/core'
import { expect, onTestFinished, test } from 'vitest'
import { traceEnqueues, traceHandlers } from '../src/opentelemetry.js'
import { queue, settled } from './queue.js'
import { recordSpans } from './spans.js'

// The sampler of the SDK's default, with roots taken or left by their name.
const { spans } = recordSpans({ sampled: (name) => name !== 'unwanted' })
const db = await queue()
const tracer = trace.getTracer('the application')
const mail = defineTask('mail', { queue: 'letters', args: typed<string>() })

// Mutant: a handler whose trace is not recorded runs outside of it: what begins inside would begin a trace of its own.
test('a trace that is left out is left out to its end, across jobs', async () => {
  onTestFinished(traceEnqueues())
  const next = defineTask('next', { queue: 'letters', args: typed<null>() })
  const traces: unknown[] = []
  const note = () => traces.push(trace.getActiveSpan()?.spanContext().traceId)
  const handlers = [
    mail.handle(async () => {
      note()
      await null
      tracer.startSpan('within').end()
      await next.enqueue(db.pool, null)
    }),
    next.handle(note),
  ]
  const worker = db.worker(handlers, { around: traceHandlers() })
  const done = settled(worker, 2)
  await worker.start()
  await tracer.startActiveSpan('unwanted', async (request) => {
    traces.push(request.spanContext().traceId)
    await mail.enqueue(db.pool, 'Ada')
    request.end()
  })
  await done
  expect(spans()).toEqual([])
  expect(traces).toEqual([traces[0], traces[0], traces[0]])
})

// Mutant: a sender that was not sampled is taken for none, or its retries for first runs.
test('whose sender was not sampled, a job has no span whatever the sampler says; its retries are asked for', async () => {
  onTestFinished(traceEnqueues())
  const names: string[] = []
  const sampler: Sampler = {
    shouldSample(_context, _traceId, name) {
      names.push(name)
      return { decision: SamplingDecision.RECORD_AND_SAMPLED }
    },
  }
  const exporter = new InMemorySpanExporter()
  const tracerProvider = new NodeTracerProvider({ sampler, spanProcessors: [new SimpleSpanProcessor(exporter)] })
  onTestFinished(() => tracerProvider.shutdown())
  const handler = mail.handle((_args, { attempt }) => (attempt === 1 ? retryAfter(0) : undefined))
  const worker = db.worker([handler], { around: traceHandlers({ tracerProvider }) })
  const done = settled(worker, 2)
  await worker.start()
  await tracer.startActiveSpan('unwanted', () => mail.enqueue(db.pool, 'Ada'))
  await done
  const runs = exporter.getFinishedSpans()
  expect(names).toEqual(['process letters'])
  expect(runs.map(({ attributes, links }) => [attributes['pgq.attempt'], links.length])).toEqual([[2, 1]])
})

test('a failure of a run that is not recorded is the job’s, as ever', async () => {
  onTestFinished(traceEnqueues())
  const hasty = defineTask('hasty', { args: typed<null>(), retry: { maxAttempts: 1 } })
  const handler = hasty.handle(() => {
    throw new Error('no luck')
  })
  const worker = db.worker([handler], { around: traceHandlers() })
  const done = settled(worker, 1)
  await worker.start()
  await tracer.startActiveSpan('unwanted', () => hasty.enqueue(db.pool, null))
  await done
  const { rows } = await db.pool.query('select reason from pgq.dead_jobs')
  expect(rows).toEqual([{ reason: 'exhausted' }])
  expect(spans()).toEqual([])
})
