import type { TracerProvider } from '@opentelemetry/api'
import { defineTask, type Executor } from '@pgq/core'
import { createWorker, type Worker, type WorkerEvents, type WorkerOptions } from '@pgq/worker'
import type { OpenMetricsContentType, Registry } from 'prom-client'
import { describe, expectTypeOf, test } from 'vitest'
import { traceEnqueues, traceHandlers } from '../src/opentelemetry.js'
import { metricsHandler, type ObservedEvents, observeWorker, queueMetrics } from '../src/prometheus.js'

const worker = {} as Worker
const registry = {} as Registry
const executor = {} as Executor

describe('prometheus', () => {
  test('a worker and a registry of either format can be observed', () => {
    expectTypeOf(observeWorker(worker, { registry })).toEqualTypeOf<() => void>()
    observeWorker(worker, { registry: {} as Registry<OpenMetricsContentType> })
    // @ts-expect-error an emitter of other events is no worker
    observeWorker({ on: (_name: 'data', _observer: () => void) => () => {} }, { registry })
    // @ts-expect-error buckets are numbers
    observeWorker(worker, { registry, runBuckets: ['1'] })
  })

  // The package does not import the worker: here its events are held against the worker's own.
  test('the events that are counted are events of a worker', () => {
    expectTypeOf<keyof ObservedEvents>().toExtend<keyof WorkerEvents>()
    expectTypeOf<Pick<WorkerEvents, keyof ObservedEvents>>().toExtend<ObservedEvents>()
  })

  test('what takes SQL can be asked, and a fetch handler answers the scraper', () => {
    expectTypeOf(queueMetrics(executor, { registry, cacheMs: 1 })).toEqualTypeOf<() => void>()
    // @ts-expect-error the registry is needed
    queueMetrics(executor, {})
    expectTypeOf(metricsHandler({ registry })).toEqualTypeOf<(request: Request) => Promise<Response>>()
  })
})

describe('opentelemetry', () => {
  test('traceHandlers is what the worker takes as around', () => {
    expectTypeOf(traceHandlers()).toExtend<NonNullable<WorkerOptions['around']>>()
    createWorker({ handlers: [defineTask('mail').handle(() => {})], around: traceHandlers() })
  })

  test('a provider of one’s own may be given', () => {
    const tracerProvider = {} as TracerProvider
    expectTypeOf(traceEnqueues({ tracerProvider })).toEqualTypeOf<() => void>()
    // @ts-expect-error a tracer is no provider
    traceHandlers({ tracerProvider: tracerProvider.getTracer('mine') })
  })
})
