import { runInNewContext } from 'node:vm'
import { type Baggage, context, propagation, SpanStatusCode, trace } from '@opentelemetry/api'
import { cancel, defineTask, enqueue, fail, redriveDeadJobs, retryAfter, snooze, TimeoutError, typed } from '@pgq/core'
import { describe, expect, onTestFinished, test } from 'vitest'
import { traceEnqueues, traceHandlers } from '../src/opentelemetry.js'
import { queue, settled } from './queue.js'
import { idOf, recordSpans, seen, traceOf } from './spans.js'

const { spans } = recordSpans()
const db = await queue()
const tracer = trace.getTracer('the application')
const mail = defineTask('mail', { queue: 'letters', args: typed<number>() })

function tracedEnqueues() {
  onTestFinished(traceEnqueues())
}

/** What is stored beside the args of each job, in the order of their ids. */
async function metas(): Promise<(Record<string, string> | null)[]> {
  const { rows } = await db.pool.query('select meta from pgq.jobs order by id')
  return rows.map(({ meta }) => meta)
}

describe('enqueue', () => {
  test('is a span of the producer, within the caller’s, and the job has its context', async () => {
    tracedEnqueues()
    const { id } = await tracer.startActiveSpan('request', async (request) => {
      const result = await mail.enqueue(db.pool, 1)
      request.end()
      return result
    })
    const [send, request] = spans()
    expect(seen(send!)).toEqual({
      name: 'send letters',
      kind: 'PRODUCER',
      attributes: {
        'messaging.system': 'pgq',
        'messaging.operation.name': 'send',
        'messaging.operation.type': 'send',
        'messaging.destination.name': 'letters',
        'messaging.message.id': id,
        'pgq.task': 'mail',
      },
      status: { code: SpanStatusCode.UNSET },
    })
    expect(traceOf(send)).toBe(traceOf(request))
    expect(send!.parentSpanContext?.spanId).toBe(idOf(request))
    expect(await metas()).toEqual([{ traceparent: `00-${traceOf(send)}-${idOf(send)}-01` }])
  })

  test('of many is one span with their number, whose context they all have', async () => {
    tracedEnqueues()
    await mail.enqueueMany(
      db.pool,
      [1, 2, 3].map((args) => ({ args })),
    )
    const [send] = spans('send letters')
    expect(send!.attributes).toMatchObject({ 'messaging.batch.message_count': 3 })
    expect(send!.attributes).not.toHaveProperty('messaging.message.id')
    const meta = { traceparent: `00-${traceOf(send)}-${idOf(send)}-01` }
    expect(await metas()).toEqual([meta, meta, meta])
  })

  test('to several queues at once has no destination', async () => {
    tracedEnqueues()
    await mail.enqueueMany(db.pool, [{ args: 1 }, { args: 2, queue: 'parcels' }])
    const [send] = spans()
    expect(send!.name).toBe('send')
    expect(send!.attributes).not.toHaveProperty('messaging.destination.name')
  })

  // Mutants: a duplicate told as a job of its own; a replaced job that keeps the context of the call before.
  test('of a unique job says what became of it, and of which job', async () => {
    tracedEnqueues()
    const unique = { key: 'order 7' }
    const { id } = await mail.enqueue(db.pool, 1, { unique })
    await mail.enqueue(db.pool, 2, { unique })
    const told = () => spans('send letters').map(({ attributes: a }) => [a['messaging.message.id'], a['pgq.status']])
    expect(told()).toEqual([
      [id, undefined],
      [id, 'duplicate'],
    ])
    const contextOf = (place: number) => {
      const span = spans('send letters')[place]
      return [{ key: 'order 7', traceparent: `00-${traceOf(span)}-${idOf(span)}-01` }]
    }
    expect(await metas()).toEqual(contextOf(0))
    await mail.enqueue(db.pool, 3, { unique: { ...unique, ifWaiting: 'replace' } })
    expect(told()[2]).toEqual([id, 'replaced'])
    expect(await metas()).toEqual(contextOf(2))
  })

  test('by name is traced as by definition, and what is written is what was given', async () => {
    tracedEnqueues()
    const { id } = await enqueue(db.pool, 'mail', { to: 'Ada' }, { queue: 'letters', priority: 3 })
    expect(spans('send letters')).toHaveLength(1)
    const { rows } = await db.pool.query('select id::text, task, args, priority from pgq.jobs')
    expect(rows).toEqual([{ id, task: 'mail', args: { to: 'Ada' }, priority: 3 }])
  })

  test('that fails fails for the caller as without tracing, and the span says so', async () => {
    tracedEnqueues()
    const executor = { query: () => Promise.reject(Object.assign(new Error('gone'), { code: '57P01' })) }
    await expect(mail.enqueue(executor, 1)).rejects.toMatchObject({ message: 'gone', code: '57P01' })
    const [send] = spans()
    expect(send!.status).toEqual({ code: SpanStatusCode.ERROR, message: 'gone' })
    expect(send!.attributes['error.type']).toBe('57P01')
    expect(send!.events.map(({ name, attributes }) => [name, attributes?.['exception.message']])).toEqual([
      ['exception', 'gone'],
    ])
  })

  // Mutant: a hook that stays.
  test('is not traced any more after the undo', async () => {
    traceEnqueues()()
    await mail.enqueue(db.pool, 1)
    expect(spans()).toEqual([])
    expect(await metas()).toEqual([null])
  })
})

describe('a run', () => {
  test('is a span of the consumer in the trace of the enqueue, active in the handler', async () => {
    tracedEnqueues()
    const handler = mail.handle(async () => {
      await null
      tracer.startSpan('within').end()
    })
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 1)
    await worker.start()
    const { id } = await mail.enqueue(db.pool, 1)
    await done
    const [send] = spans('send letters')
    const [run] = spans('process letters')
    const [within] = spans('within')
    expect(seen(run!)).toEqual({
      name: 'process letters',
      kind: 'CONSUMER',
      attributes: {
        'messaging.system': 'pgq',
        'messaging.operation.name': 'process',
        'messaging.operation.type': 'process',
        'messaging.destination.name': 'letters',
        'messaging.message.id': id,
        'pgq.task': 'mail',
        'pgq.attempt': 1,
        'pgq.outcome': 'success',
      },
      status: { code: SpanStatusCode.UNSET },
    })
    expect([traceOf(run), run!.parentSpanContext?.spanId, run!.links]).toEqual([traceOf(send), idOf(send), []])
    expect([traceOf(within), within!.parentSpanContext?.spanId]).toEqual([traceOf(run), idOf(run)])
  })

  test('that is a retry has a trace of its own, linked to the span that enqueued the job', async () => {
    tracedEnqueues()
    const flaky = defineTask('flaky', { args: typed<null>(), retry: { minDelayMs: 0, maxAttempts: 3 } })
    const handler = flaky.handle((_, { attempt }) => {
      // Of another realm, as Node's own errors are under jest.
      if (attempt === 2) throw runInNewContext('new RangeError("attempt 2")')
      if (attempt < 3) throw new TypeError(`attempt ${attempt}`)
    })
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 3)
    await worker.start()
    await flaky.enqueue(db.pool, null)
    await done
    const [send] = spans('send default')
    const runs = spans('process default')
    expect(runs.map(({ attributes }) => attributes['pgq.attempt'])).toEqual([1, 2, 3])
    expect(runs.map((run) => traceOf(run) === traceOf(send))).toEqual([true, false, false])
    expect(runs.map(({ links }) => links.map((link) => link.context.spanId))).toEqual([[], [idOf(send)], [idOf(send)]])
    expect(runs.map(({ parentSpanContext }) => parentSpanContext?.spanId)).toEqual([idOf(send), undefined, undefined])
    expect(runs.map(({ status }) => status.code)).toEqual([
      SpanStatusCode.ERROR,
      SpanStatusCode.ERROR,
      SpanStatusCode.UNSET,
    ])
    expect(runs.map(({ attributes }) => attributes['error.type'])).toEqual(['TypeError', 'RangeError', undefined])
    expect(runs[0]!.status.message).toBe('attempt 1')
    expect(runs[0]!.events[0]!.attributes).toMatchObject({
      'exception.type': 'TypeError',
      'exception.message': 'attempt 1',
      'exception.stacktrace': expect.stringContaining('TypeError: attempt 1'),
    })
  })

  test('after a snooze or a redrive is of the first attempt, and so in the trace of the enqueue', async () => {
    tracedEnqueues()
    const decisions = [snooze(0), fail(new Error('no')), undefined]
    const moody = defineTask('moody', { args: typed<null>() })
    const worker = db.worker([moody.handle(() => decisions.shift())], { around: traceHandlers() })
    const twice = settled(worker, 2)
    await worker.start()
    const { id } = await moody.enqueue(db.pool, null)
    await twice
    const once = settled(worker, 1)
    await redriveDeadJobs(db.pool, { ids: [id] })
    await once
    const [send] = spans('send default')
    const runs = spans('process default')
    expect(runs.map(({ attributes }) => attributes['pgq.attempt'])).toEqual([1, 1, 1])
    expect(runs.map(({ parentSpanContext }) => parentSpanContext?.spanId)).toEqual(Array(3).fill(idOf(send)))
  })

  // Mutant: the context goes no further than one hop.
  test('enqueues within its own trace', async () => {
    tracedEnqueues()
    const next = defineTask('next', { queue: 'letters', args: typed<null>() })
    const handlers = [mail.handle(async () => void (await next.enqueue(db.pool, null))), next.handle(() => {})]
    const worker = db.worker(handlers, { around: traceHandlers() })
    const done = settled(worker, 2)
    await worker.start()
    await mail.enqueue(db.pool, 1)
    await done
    expect(spans().map(({ name, attributes }) => `${name} ${attributes['pgq.task']}`)).toEqual(
      expect.arrayContaining([
        'send letters mail',
        'process letters mail',
        'send letters next',
        'process letters next',
      ]),
    )
    expect(new Set(spans().map(traceOf)).size).toBe(1)
  })

  test('of every mode carries the context: that of a transactional job and of one that is not retried', async () => {
    tracedEnqueues()
    const tasks = [
      defineTask('pay', { mode: 'transactional', args: typed<null>() }),
      defineTask('ping', { mode: 'at-most-once', args: typed<null>() }),
    ]
    const worker = db.worker(
      tasks.map((task) => task.handle(() => {})),
      { around: traceHandlers() },
    )
    const done = settled(worker, 2)
    await worker.start()
    for (const task of tasks) await task.enqueue(db.pool, null)
    await done
    const sent = Object.fromEntries(spans('send default').map((span) => [span.attributes['pgq.task'], idOf(span)]))
    const parents = Object.fromEntries(
      spans('process default').map((span) => [span.attributes['pgq.task'], span.parentSpanContext?.spanId]),
    )
    expect(parents).toEqual(sent)
  })

  test('of a job that nobody traced is the root of a trace, whatever the worker was started in', async () => {
    const worker = db.worker([mail.handle(() => {})], { around: traceHandlers() })
    const done = settled(worker, 1)
    await tracer.startActiveSpan('deployment', async (deployment) => {
      await worker.start()
      deployment.end()
    })
    await mail.enqueue(db.pool, 1)
    await done
    const [run] = spans('process letters')
    expect([run!.parentSpanContext, run!.links]).toEqual([undefined, []])
    expect(traceOf(run)).not.toBe(traceOf(spans('deployment')[0]))
  })

  // Mutant: a kept context that is not compared with what the next job carries, field by field.
  test('has the parent of its own job, whatever the job before it carried', async () => {
    const untrace = traceEnqueues()
    onTestFinished(untrace)
    const acme = propagation.createBaggage({ tenant: { value: 'acme' } })
    const request = (baggage?: Baggage) =>
      tracer.startActiveSpan('request', async (span) => {
        const active = baggage ? propagation.setBaggage(context.active(), baggage) : context.active()
        await context.with(active, () => mail.enqueue(db.pool, 1))
        span.end()
      })
    await request()
    await request(acme)
    await request()
    await mail.enqueueMany(db.pool, [{ args: 1 }, { args: 2 }])
    untrace()
    await mail.enqueue(db.pool, 1)
    const tenants: unknown[] = []
    const handler = mail.handle(() => void tenants.push(propagation.getActiveBaggage()?.getEntry('tenant')?.value))
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 6)
    await worker.start()
    await done
    const sends = spans('send letters').map(idOf)
    const parents = spans('process letters').map(({ parentSpanContext }) => parentSpanContext?.spanId)
    expect(parents).toEqual([...sends, sends.at(-1), undefined])
    expect(tenants).toEqual([undefined, 'acme', undefined, undefined, undefined, undefined])
  })

  test('baggage goes along, also to a retry', async () => {
    tracedEnqueues()
    const flaky = defineTask('flaky', { args: typed<null>(), retry: { minDelayMs: 0 } })
    const tenants: unknown[] = []
    const handler = flaky.handle((_, { attempt }) => {
      tenants.push(propagation.getActiveBaggage()?.getEntry('tenant')?.value)
      if (attempt === 1) throw new Error('not yet')
    })
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 2)
    await worker.start()
    const baggage = propagation.createBaggage({ tenant: { value: 'acme' } })
    await context.with(propagation.setBaggage(context.active(), baggage), () => flaky.enqueue(db.pool, null))
    await done
    expect(tenants).toEqual(['acme', 'acme'])
  })

  test.each([
    ['retry', () => retryAfter(3_600_000), SpanStatusCode.ERROR, 'The handler asked for a retry.'],
    ['snooze', () => snooze(3_600_000), SpanStatusCode.UNSET, undefined],
    ['cancel', () => cancel('not wanted'), SpanStatusCode.UNSET, undefined],
  ])('that ends in %s says so', async (outcome, decide, code, message) => {
    const worker = db.worker([mail.handle(decide)], { around: traceHandlers() })
    const done = settled(worker, 1)
    await worker.start()
    await mail.enqueue(db.pool, 1)
    await done
    const [run] = spans('process letters')
    expect(run!.attributes['pgq.outcome']).toBe(outcome)
    expect(run!.status).toEqual({ code, ...(message && { message }) })
  })

  test('that its timeout ended has failed of the timeout', async () => {
    const slow = defineTask('slow', { args: typed<null>(), timeoutMs: 20, retry: { maxAttempts: 1 } })
    const handler = slow.handle(
      (_, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(new Error('I was told to stop')))
        }),
    )
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 1)
    await worker.start()
    await slow.enqueue(db.pool, null)
    await done
    const [run] = spans('process default')
    expect(run!.attributes['error.type']).toBe('PGQ_TIMEOUT')
    expect(run!.status.message).toBe(new TimeoutError(String(run!.attributes['messaging.message.id']), 20).message)
  })

  test.each([
    ['a text', 'no luck', 'no luck'],
    ['nothing', undefined, 'undefined'],
    ['an object without a prototype', Object.create(null), 'a value that cannot be shown as text'],
  ])('whose handler throws %s is recorded', async (_, thrown, message) => {
    const hasty = defineTask('hasty', { args: typed<null>(), retry: { maxAttempts: 1 } })
    const handler = hasty.handle(() => {
      throw thrown
    })
    const worker = db.worker([handler], { around: traceHandlers() })
    const done = settled(worker, 1)
    await worker.start()
    await hasty.enqueue(db.pool, null)
    await done
    expect(spans('process default')[0]!.status).toEqual({ code: SpanStatusCode.ERROR, message })
  })
})
