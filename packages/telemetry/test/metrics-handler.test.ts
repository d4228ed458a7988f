import { Gauge, Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { metricsHandler, observeWorker } from '../src/prometheus.js'
import { FakeWorker } from './fake-worker.js'

const address = 'http://127.0.0.1/metrics'

test('GET answers the metrics, in the format that the registry has', async () => {
  const registry = new Registry()
  observeWorker(new FakeWorker(), { registry })
  const response = await metricsHandler({ registry })(new Request(address))
  expect(response.status).toBe(200)
  expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  expect(await response.text()).toContain('# TYPE pgq_worker_rescues_total counter\npgq_worker_rescues_total 0\n')
})

test('HEAD answers no body, and other methods are told which to use', async () => {
  const handle = metricsHandler({ registry: new Registry() })
  const head = await handle(new Request(address, { method: 'HEAD' }))
  expect([head.status, await head.text()]).toEqual([200, ''])
  const post = await handle(new Request(address, { method: 'POST' }))
  expect([post.status, post.headers.get('allow')]).toEqual([405, 'GET, HEAD'])
})

// Mutant: the error's message in the answer; it may tell a stranger about the database.
test('a metric of the application that fails is a 500 that tells nothing, and onError hears of it', async () => {
  const registry = new Registry()
  const collect = () => {
    throw new Error('password authentication failed')
  }
  new Gauge({ name: 'broken', help: 'Of the application.', registers: [registry], collect })
  const errors: unknown[] = []
  const response = await metricsHandler({ registry, onError: (error) => errors.push(error) })(new Request(address))
  expect(response.status).toBe(500)
  expect(await response.text()).toBe('A metric could not be collected.\n')
  expect(errors).toEqual([new Error('password authentication failed')])
})
