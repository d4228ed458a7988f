import { once } from 'node:events'
import { cancel, defineTask, fail, retryAfter, snooze, typed } from '@pgq/core'
import { type OpenMetricsContentType, Registry } from 'prom-client'
import { describe, expect, test } from 'vitest'
import { observeWorker } from '../src/prometheus.js'
import { FakeWorker } from './fake-worker.js'
import { gate, queue, settled } from './queue.js'
import { scrape, seriesOf } from './scrape.js'

const db = await queue()

describe('a worker on a database', () => {
  test('is counted: what it settled, for how long that ran and waited, what it claimed', async () => {
    const mail = defineTask('mail', { queue: 'letters', args: typed<string>() })
    const charge = defineTask('charge', { queue: 'money', mode: 'at-most-once', args: typed<null>() })
    const ends: Record<string, () => unknown> = {
      well: () => {},
      later: () => snooze(3_600_000),
      again: () => retryAfter(3_600_000),
      wrong: () => fail(new Error('no such address')),
      withdrawn: () => cancel('not wanted any more'),
    }
    const registry = new Registry()
    const worker = db.worker([mail.handle((end) => ends[end]!()), charge.handle(() => {})])
    observeWorker(worker, { registry })
    const done = settled(worker, 7)
    await mail.enqueueMany(
      db.pool,
      ['well', 'well', 'later', 'again', 'wrong', 'withdrawn'].map((args) => ({ args })),
    )
    await charge.enqueue(db.pool, null)
    await worker.start()
    await done

    const values = await scrape(registry)
    const letters = 'mode="at-least-once",'
    expect(seriesOf(values, 'pgq_jobs_settled_total')).toEqual({
      [`{${letters}outcome="completed",queue="letters",task="mail"}`]: 2,
      [`{${letters}outcome="snoozed",queue="letters",task="mail"}`]: 1,
      [`{${letters}outcome="retried",queue="letters",task="mail"}`]: 1,
      [`{${letters}outcome="failed",queue="letters",task="mail"}`]: 1,
      [`{${letters}outcome="cancelled",queue="letters",task="mail"}`]: 1,
      [`{${letters}outcome="exhausted",queue="letters",task="mail"}`]: 0,
      ...Object.fromEntries(
        ['completed', 'snoozed', 'retried', 'failed', 'cancelled', 'exhausted'].map((outcome) => [
          `{mode="at-most-once",outcome="${outcome}",queue="money",task="charge"}`,
          outcome === 'completed' ? 1 : 0,
        ]),
      ),
    })
    expect(values.get('pgq_job_run_seconds_count{mode="at-least-once",queue="letters",task="mail"}')).toBe(6)
    expect(values.get('pgq_job_wait_seconds_count{mode="at-least-once",queue="letters",task="mail"}')).toBe(6)
    expect(values.get('pgq_job_wait_seconds_bucket{le="+Inf",mode="at-most-once",queue="money",task="charge"}')).toBe(1)
    expect(seriesOf(values, 'pgq_jobs_claimed_total')).toEqual({
      '{mode="at-least-once"}': 6,
      '{mode="at-most-once"}': 1,
    })
    expect(values.get('pgq_claim_seconds_count{mode="at-most-once"}')).toBe(1)
  })

  // Mutant: milliseconds in a metric that is named seconds.
  test('durations are in seconds: a handler of 50 ms has run between 0.05 and 1', async () => {
    const nap = defineTask('nap')
    const registry = new Registry()
    const worker = db.worker([nap.handle(() => new Promise((resolve) => setTimeout(resolve, 50)))])
    observeWorker(worker, { registry, runBuckets: [0.04, 1] })
    const done = settled(worker, 1)
    await nap.enqueue(db.pool, null)
    await worker.start()
    await done
    const values = await scrape(registry)
    const labels = 'mode="at-least-once",queue="default",task="nap"'
    expect(values.get(`pgq_job_run_seconds_bucket{le="0.04",${labels}}`)).toBe(0)
    expect(values.get(`pgq_job_run_seconds_bucket{le="1",${labels}}`)).toBe(1)
    expect(values.get(`pgq_job_run_seconds_sum{${labels}}`)).toBeGreaterThan(0.04)
    expect(values.get(`pgq_job_run_seconds_sum{${labels}}`)).toBeLessThan(1)
  })

  test('shows what runs now, and that a job was given back by its stop', async () => {
    const wait = defineTask('wait')
    const started = gate()
    const registry = new Registry()
    const worker = db.worker([
      wait.handle(async (_, { signal }) => {
        started.open()
        await once(signal, 'abort')
        throw signal.reason
      }),
    ])
    observeWorker(worker, { registry })
    await wait.enqueue(db.pool, null)
    await worker.start()
    await started.opened
    const labels = '{mode="at-least-once",queue="default",task="wait"}'
    expect((await scrape(registry)).get(`pgq_jobs_running${labels}`)).toBe(1)
    await worker.stop()
    const values = await scrape(registry)
    expect(values.get(`pgq_jobs_running${labels}`)).toBe(0)
    expect(values.get(`pgq_jobs_released_total${labels}`)).toBe(1)
  })

  test('workers that share a registry are counted together, and one that is observed no more is not', async () => {
    const work = defineTask('work')
    const registry = new Registry()
    const [first, second] = [db.worker([work.handle(() => {})]), db.worker([work.handle(() => {})])]
    const stop = observeWorker(first, { registry })
    observeWorker(second, { registry })
    const count = async () =>
      (await scrape(registry)).get(
        'pgq_jobs_settled_total{mode="at-least-once",outcome="completed",queue="default",task="work"}',
      )
    const runOn = async (worker: typeof first) => {
      const done = settled(worker, 1)
      await work.enqueue(db.pool, null)
      await worker.start()
      await done
      await worker.stop()
    }
    await runOn(first)
    expect(await count()).toBe(1)
    await runOn(second)
    expect(await count()).toBe(2)
    stop()
    const third = db.worker([work.handle(() => {})])
    observeWorker(third, { registry })()
    await runOn(third)
    expect(await count()).toBe(2)
  })
})

// What a database would have to break for: the events as the worker emits them.
describe('the events of trouble', () => {
  const job = { jobId: '1', task: 'mail', queue: 'default', attempt: 1, mode: 'at-least-once' } as const
  const labels = '{mode="at-least-once",queue="default",task="mail"}'

  function observed() {
    const registry = new Registry()
    const worker = new FakeWorker()
    observeWorker(worker, { registry })
    return { worker, registry, value: async (name: string) => (await scrape(registry)).get(name) }
  }

  test.each(['lost', 'unsettled', 'stuck', 'released'] as const)('job.%s', async (name) => {
    const { worker, value } = observed()
    worker.emit(`job.${name}`, job)
    expect(await value(`pgq_jobs_${name}_total${labels}`)).toBe(1)
  })

  // Mutants: a series that ends with its last job, so that it cannot be drawn; only the first worker.
  test('what runs is asked of all workers, and stays as 0', async () => {
    const { worker, registry, value } = observed()
    const other = new FakeWorker()
    observeWorker(other, { registry })
    worker.running = [job, job, { ...job, task: 'bill' }]
    other.running = [job]
    expect(await value(`pgq_jobs_running${labels}`)).toBe(3)
    worker.running = other.running = []
    expect(await value(`pgq_jobs_running${labels}`)).toBe(0)
  })

  test('rescues count the lost workers and their jobs', async () => {
    const { worker, value } = observed()
    worker.emit('workers.rescued', { workers: [3, 4], requeued: 7, buried: 1 })
    expect(await value('pgq_worker_rescues_total')).toBe(2)
    expect(await value('pgq_jobs_rescued_total{outcome="requeued"}')).toBe(7)
    expect(await value('pgq_jobs_rescued_total{outcome="buried"}')).toBe(1)
  })

  test.each(['database', 'listener'] as const)(
    'an outage of the %s shows while it lasts, and is counted',
    async (of) => {
      const { worker, value } = observed()
      const now = `pgq_workers_disconnected{connection="${of}"}`
      expect(await value(now)).toBe(0)
      worker.emit(`${of}.lost`, {})
      expect(await value(now)).toBe(1)
      worker.emit(`${of}.restored`, {})
      expect(await value(now)).toBe(0)
      expect(await value(`pgq_worker_outages_total{connection="${of}"}`)).toBe(1)
    },
  )

  test('a worker that stopped misses nothing', async () => {
    const { worker, value } = observed()
    worker.emit('database.lost', {})
    worker.emit('worker.replaced', {})
    worker.emit('worker.stopped', {})
    expect(await value('pgq_workers_disconnected{connection="database"}')).toBe(0)
    expect(await value('pgq_worker_replacements_total')).toBe(1)
  })
})

describe('the registry', () => {
  test('OpenMetrics: counters keep their _total, and the text ends with EOF', async () => {
    const registry = new Registry<OpenMetricsContentType>()
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
    const worker = new FakeWorker()
    observeWorker(worker, { registry })
    worker.emit('workers.rescued', { workers: [1], requeued: 0, buried: 0 })
    for (const _ of ['first', 'second']) {
      const text = await registry.metrics()
      expect(text).toContain('# TYPE pgq_worker_rescues counter\npgq_worker_rescues_total 1\n')
      expect(text).toMatch(/# EOF\n$/)
    }
  })

  test('no registry is refused', () => {
    expect(() => observeWorker(new FakeWorker(), {} as never)).toThrow('registry must be one of prom-client')
  })

  // Mutant: each job counted twice.
  test('a worker that the registry counts already is refused, until that has ended', async () => {
    const [registry, worker] = [new Registry(), new FakeWorker()]
    const stop = observeWorker(worker, { registry })
    observeWorker(worker, { registry: new Registry() })
    expect(() => observeWorker(worker, { registry })).toThrow(/counts this worker already.*once for each worker/)
    worker.emit('worker.replaced', {})
    expect((await scrape(registry)).get('pgq_worker_replacements_total')).toBe(1)
    stop()
    observeWorker(worker, { registry })
  })

  test('a name that is taken is refused', () => {
    const registry = new Registry()
    registry.registerMetric({ name: 'pgq_claim_seconds' } as never)
    expect(() => observeWorker(new FakeWorker(), { registry })).toThrow(/has a metric pgq_claim_seconds already/)
    expect(registry.getSingleMetric('pgq_jobs_settled_total')).toBeUndefined()
  })

  test('after clear() a worker is counted anew', async () => {
    const registry = new Registry()
    observeWorker(new FakeWorker(), { registry })
    registry.clear()
    observeWorker(new FakeWorker(), { registry })
    expect(await registry.metrics()).toContain('pgq_worker_rescues_total 0')
  })

  test.each([[[]], [[1, 1]], [[2, 1]], [[Number.NaN]], [[1, Number.POSITIVE_INFINITY]]])(
    'buckets %j are refused',
    (runBuckets) => {
      expect(() => observeWorker(new FakeWorker(), { registry: new Registry(), runBuckets })).toThrow(
        /runBuckets must be/,
      )
    },
  )
})
