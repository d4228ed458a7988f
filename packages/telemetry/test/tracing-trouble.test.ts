import { DiagLogLevel, diag, propagation, type TracerProvider } from '@opentelemetry/api'
import { defineTask, typed } from '@pgq/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { traceEnqueues, traceHandlers } from '../src/opentelemetry.js'
import { queue, settled } from './queue.js'

const db = await queue()
const mail = defineTask('mail', { args: typed<number>() })

/** Enqueues one job and has it run; answers its meta as the handler saw it. */
async function enqueueAndRun(options: { tracerProvider?: TracerProvider } = {}) {
  onTestFinished(traceEnqueues(options))
  const metas: unknown[] = []
  const handler = mail.handle((_, { meta }) => void metas.push(meta))
  const worker = db.worker([handler], { around: traceHandlers(options) })
  const done = settled(worker, 1)
  await worker.start()
  await mail.enqueue(db.pool, 1)
  await done
  return metas
}

describe('without an SDK', () => {
  test('nothing is carried, and everything runs', async () => {
    expect(await enqueueAndRun()).toEqual([{}])
    const { rows } = await db.pool.query('select count(*)::integer as jobs from pgq.jobs')
    expect(rows).toEqual([{ jobs: 0 }])
  })
})

describe('a tracer that throws', () => {
  const wrong = () => {
    throw new Error('a broken exporter')
  }

  // Mutant: an enqueue or a handler that fails because tracing does.
  test('when a span begins leaves the work as it is, and is told to the log of OpenTelemetry', async () => {
    const told: unknown[] = []
    const silent = () => {}
    const logger = {
      error: (message: string) => told.push(message),
      warn: silent,
      info: silent,
      debug: silent,
      verbose: silent,
    }
    diag.setLogger(logger, { logLevel: DiagLogLevel.ERROR })
    onTestFinished(() => diag.disable())
    const tracerProvider = { getTracer: () => ({ startSpan: wrong, startActiveSpan: wrong }) }
    expect(await enqueueAndRun({ tracerProvider })).toEqual([{}])
    expect(told).toEqual(['pgq: tracing failed', 'pgq: tracing failed'])
  })

  test('when a span ends does, too', async () => {
    const span = {
      ...{ setAttribute: wrong, setStatus: wrong, recordException: wrong, end: wrong },
      ...{ spanContext: () => ({}), isRecording: () => true },
    }
    const tracerProvider = { getTracer: () => ({ startSpan: () => span }) } as unknown as TracerProvider
    expect(await enqueueAndRun({ tracerProvider })).toEqual([{}])
  })

  test('in the propagator does, too', async () => {
    propagation.setGlobalPropagator({ inject: wrong, extract: wrong, fields: () => [] })
    onTestFinished(() => propagation.disable())
    expect(await enqueueAndRun()).toEqual([{}])
  })
})
