import { trace } from '@opentelemetry/api'
import { NodeTracerProvider, type Sampler, SamplingDecision } from '@opentelemetry/sdk-trace-node'
import { defineTask, type Job, typed } from '@pgq/core'
import { describe, expect, onTestFinished, test } from 'vitest'
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

describe('a sampler is asked about jobs whose senders were not sampled', () => {
  const unsampled = { traceparent: '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00' }
  const jobOf = (attempt: number) =>
    ({ id: '1', queue: 'letters', task: 'mail', attempt, meta: unsampled }) as unknown as Job

  /** traceHandlers with a sampler that records what it is told to; answers how to run so many jobs, and how often it was asked. */
  function sampling(isRecorded: (asked: number) => boolean) {
    let asked = 0
    const sampler: Sampler = {
      shouldSample: () => ({
        decision: isRecorded(++asked) ? SamplingDecision.RECORD : SamplingDecision.NOT_RECORD,
      }),
    }
    const around = traceHandlers({ tracerProvider: new NodeTracerProvider({ sampler }) })
    return async (jobs: number, attempt = 1) => {
      const before = asked
      const active = new Set<string | undefined>()
      for (let n = 0; n < jobs; n++)
        await around(jobOf(attempt), async () => {
          active.add(trace.getActiveSpan()?.spanContext().traceId)
          return { type: 'success' }
        })
      if (attempt === 1) expect([...active]).toEqual(['0af7651916cd43dd8448eb211c80319c'])
      return asked - before
    }
  }

  // Mutants: it is asked for ever; it is not asked about retries.
  test('until it has turned down 1,000 of them, and about their retries', async () => {
    const run = sampling(() => false)
    expect([await run(1_500), await run(10, 2), await run(10)]).toEqual([1_000, 10, 0])
  })

  // Mutants: one is taken for all; what was turned down is counted on.
  test('for ever, if it has recorded one', async () => {
    const run = sampling((asked) => asked === 999)
    expect(await run(3_000)).toBe(3_000)
  })
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
