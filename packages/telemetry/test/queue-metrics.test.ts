import { defineTask, type Executor, typed } from '@pgq/core'
import pg from 'pg'
import { Gauge, Registry } from 'prom-client'
import { describe, expect, test } from 'vitest'
import { type QueueMetricsOptions, queueMetrics } from '../src/prometheus.js'
import { gate, queue } from './queue.js'
import { scrape, seriesOf } from './scrape.js'

const db = await queue()
const mail = defineTask('mail', { queue: 'letters', args: typed<number>() })

/** A registry with the metrics of the queue, and one of somebody else. */
function registryOf(options: Partial<QueueMetricsOptions> = {}, executor: Executor = db.pool) {
  const registry = new Registry()
  new Gauge({ name: 'other', help: 'Of the application.', registers: [registry] }).set(1)
  const remove = queueMetrics(executor, { registry, cacheMs: 0, ...options })
  return { registry, remove, scrape: () => scrape(registry) }
}

describe('what the queue holds', () => {
  test('is read at the scrape: jobs by state, the oldest, who works', async () => {
    const metrics = registryOf()
    const started = gate()
    const end = gate()
    const worker = db.worker(
      [
        mail.handle(async () => {
          started.open()
          await end.opened
        }),
      ],
      { concurrency: 1 },
    )
    await mail.enqueue(db.pool, 1)
    await worker.start()
    await started.opened
    await mail.enqueue(db.pool, 2, { queue: 'elsewhere' })
    await mail.enqueue(db.pool, 3, { queue: 'elsewhere', delayMs: 3_600_000 })
    const { id } = await mail.enqueue(db.pool, 4, { queue: 'elsewhere', concurrency: { key: 'account 7' } })
    await db.pool.query("update pgq.jobs set execute_at = 'infinity' where id = $1", [id])
    await db.pool.query("update pgq.jobs set ready_at = now() - interval '90 s' where queue = 'elsewhere'")

    const values = await metrics.scrape()
    end.open()
    expect(seriesOf(values, 'pgq_queue_up')).toEqual({ '': 1 })
    expect(seriesOf(values, 'pgq_queue_jobs')).toEqual({
      '{queue="letters",state="running",task="mail"}': 1,
      '{queue="elsewhere",state="ready",task="mail"}': 1,
      '{queue="elsewhere",state="scheduled",task="mail"}': 1,
      '{queue="elsewhere",state="parked",task="mail"}': 1,
    })
    expect(seriesOf(values, 'pgq_queue_ready_jobs')).toEqual({ '{queue="elsewhere"}': 1, '{queue="letters"}': 0 })
    expect(values.get('pgq_queue_oldest_ready_seconds{queue="elsewhere"}')).toBeCloseTo(90, -1)
    expect(values.get('pgq_queue_oldest_ready_seconds{queue="letters"}')).toBe(0)
    expect(seriesOf(values, 'pgq_queue_workers')).toEqual({ '{queue="elsewhere"}': 0, '{queue="letters"}': 1 })
    expect(seriesOf(values, 'pgq_workers')).toEqual({ '{state="busy"}': 1, '{state="idle"}': 0 })
    expect(values.get('pgq_queue_read_seconds')).toBeGreaterThan(0)
  })

  test('unclaimable are ready jobs whose queue has no worker with a handler for them', async () => {
    const { scrape: scrapeAll } = registryOf()
    const bill = defineTask('bill', { queue: 'letters' })
    await db.pool.query("insert into pgq.workers (queues, tasks) values ('{letters}', '{mail}'), ('{other}', '{bill}')")
    await mail.enqueue(db.pool, 1)
    await bill.enqueue(db.pool, null)
    await bill.enqueue(db.pool, null, { delayMs: 3_600_000 })
    await mail.enqueue(db.pool, 1, { queue: 'nobody' })
    expect(seriesOf(await scrapeAll(), 'pgq_queue_unclaimable_jobs')).toEqual({
      '{queue="letters"}': 1,
      '{queue="nobody"}': 1,
      '{queue="other"}': 0,
    })
  })

  // Mutant: every queue that somebody enqueued to becomes a label, and the monitoring dies of a tenant.
  test('never more series than maxSeries: the rest is counted together, and known ones stay', async () => {
    const metrics = registryOf({ maxSeries: 2 })
    await mail.enqueueMany(
      db.pool,
      ['b', 'c'].map((queue) => ({ args: 1, queue })),
    )
    await metrics.scrape()
    await mail.enqueueMany(
      db.pool,
      ['a', 'b', 'd', 'd'].map((queue) => ({ args: 1, queue })),
    )
    await db.pool.query("update pgq.jobs set ready_at = now() - interval '90 s' where queue = 'a'")
    const values = await metrics.scrape()
    expect(seriesOf(values, 'pgq_queue_jobs')).toEqual({
      '{queue="b",state="ready",task="mail"}': 2,
      '{queue="c",state="ready",task="mail"}': 1,
      '{queue="(others)",state="ready",task="(others)"}': 3,
    })
    // Ages are not added up.
    expect(values.get('pgq_queue_oldest_ready_seconds{queue="(others)"}')).toBeCloseTo(90, -1)
  })

  test('a hostile name is a label like others', async () => {
    const metrics = registryOf()
    const name = 'a"}\n\\evil 1'
    await mail.enqueue(db.pool, 1, { queue: name })
    const text = await metrics.registry.metrics()
    expect(text).toContain('pgq_queue_ready_jobs{queue="a\\"}\\n\\\\evil 1"} 1\n')
  })
})

describe('when the database does not answer', () => {
  // Mutants: a scrape that waits as long as the database does; a question for every scrape, until the pool is used up.
  test('the others are scraped in time, and one question waits for all scrapes', async () => {
    const answers = gate()
    let asked = 0
    const executor = {
      query: async (sql: string, params: unknown[]) => {
        asked += 1
        await answers.opened
        return db.pool.query(sql, params)
      },
    }
    const metrics = registryOf({ timeoutMs: 30, cacheMs: 60_000 }, executor)
    for (const _ of ['first', 'second', 'third']) {
      const values = await metrics.scrape()
      expect(values.get('pgq_queue_up')).toBe(0)
      expect(values.get('other')).toBe(1)
      expect(seriesOf(values, 'pgq_workers')).toEqual({})
    }
    expect(asked).toBe(1)
    answers.open()
    // Too late for who asked, and there for who comes next.
    await expect.poll(async () => (await metrics.scrape()).get('pgq_queue_up')).toBe(1)
  })

  test('a failure is told, and no value of before is shown', async () => {
    const errors: unknown[] = []
    const pool = new pg.Pool({ connectionString: db.url })
    const registry = new Registry()
    queueMetrics(pool, { registry, cacheMs: 0, onError: (error) => errors.push(error) })
    await mail.enqueue(db.pool, 1)
    expect(seriesOf(await scrape(registry), 'pgq_queue_ready_jobs')).toEqual({ '{queue="letters"}': 1 })
    await pool.end()
    const values = await scrape(registry)
    expect(values.get('pgq_queue_up')).toBe(0)
    expect(seriesOf(values, 'pgq_queue_ready_jobs')).toEqual({})
    expect(errors.length).toBeGreaterThan(0)
  })

  test('onError that throws disturbs no scrape', async () => {
    const registry = new Registry()
    const executor = { query: () => Promise.reject(new Error('no database')) }
    const onError = () => {
      throw new Error('nor a log')
    }
    queueMetrics(executor, { registry, onError })
    expect((await scrape(registry)).get('pgq_queue_up')).toBe(0)
  })
})

// Mutant: no cache; ten scrapers a second are ten times three counts of the whole queue.
test('scrapes within cacheMs share one look at the database, also after a failure', async () => {
  let statements = 0
  const executor = {
    query: (sql: string, params: unknown[]) => {
      statements += 1
      return db.pool.query(sql, params)
    },
  }
  const registry = new Registry()
  queueMetrics(executor, { registry, cacheMs: 60_000 })
  await scrape(registry)
  const first = statements
  await mail.enqueue(db.pool, 1)
  expect(seriesOf(await scrape(registry), 'pgq_queue_ready_jobs')).toEqual({})
  expect(statements).toBe(first)

  const failing = { query: () => Promise.reject(new Error(`no database, ${++statements}`)) }
  const other = new Registry()
  queueMetrics(failing, { registry: other, cacheMs: 60_000 })
  await scrape(other)
  const second = statements
  await scrape(other)
  expect(statements).toBe(second)
})

test('what it answers takes the metrics out again', async () => {
  const { registry, remove } = registryOf()
  remove()
  expect(registry.getMetricsAsArray().map(({ name }) => name)).toEqual(['other'])
  queueMetrics(db.pool, { registry })
})

test('an option that does not exist is refused', () => {
  expect(() =>
    queueMetrics(db.pool, { registry: new Registry(), cachMs: 1 } as object as { registry: Registry }),
  ).toThrow('queueMetrics: unknown option cachMs; did you mean cacheMs?')
})

test('no registry, or nothing to ask, is refused', () => {
  expect(() => queueMetrics(db.pool, {} as never)).toThrow('registry must be one of prom-client')
  expect(() => queueMetrics({} as never, { registry: new Registry() })).toThrow('must be what runs the SQL')
})

test.each([{ cacheMs: -1 }, { timeoutMs: 0.5 }, { maxSeries: Number.NaN }])('%j is refused', (options) => {
  expect(() => queueMetrics(db.pool, { registry: new Registry(), ...options })).toThrow(/use a whole number/)
})
