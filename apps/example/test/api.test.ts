import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { countJobs } from '@pgq/monitor'
import { describe, expect, onTestFinished, test } from 'vitest'
import { type RunningApi, serveApi, shopApi } from '../src/api.js'
import { placeOrder } from '../src/orders.js'
import { shopWorker } from '../src/worker.js'
import { shopDatabase } from './shop-database.js'

const { url: databaseUrl, db } = await shopDatabase()
const tea = { customer: 'me@shop.test', sku: 'tea', quantity: 2 }

async function api(): Promise<RunningApi> {
  const running = await serveApi(shopApi(db), 0)
  onTestFinished(() => running.close())
  return running
}

async function send(url: string, body?: unknown): Promise<{ status: number; headers: Headers; answer: any }> {
  const request =
    body === undefined ? {} : { method: 'POST', body: typeof body === 'string' ? body : JSON.stringify(body) }
  const response = await fetch(url, request)
  return { status: response.status, headers: response.headers, answer: await response.json() }
}

const ordersAndJobs = async () => ({
  orders: (await db.selectFrom('shop.orders').select('id').execute()).length,
  jobs: (await countJobs(db)).reduce((sum, { jobs }) => sum + jobs, 0),
})

describe('POST /orders', () => {
  test('places the order with its four jobs, and says where it is', async () => {
    const { url } = await api()
    const { status, headers, answer } = await send(`${url}/orders`, tea)
    expect([status, answer, headers.get('location')]).toEqual([201, { id: 1 }, '/orders/1'])
    expect(await ordersAndJobs()).toEqual({ orders: 1, jobs: 4 })
    expect((await send(`${url}/orders/1`)).answer).toEqual({
      ...{ id: 1, ...tea, total_cents: 1_380 },
      ...{ charged_cents: null, receipt: null },
    })
  })

  test.each([
    ['an unknown article', { ...tea, sku: 'toString' }, 'Not in the catalog'],
    ['no customer', { sku: 'tea', quantity: 1 }, 'at customer'],
    ['none of it', { ...tea, quantity: 0 }, 'at quantity'],
    ['half a JSON', '{"customer":', 'expected object'],
  ])('refuses %s, and writes nothing', async (_, body, complaint) => {
    const { url } = await api()
    const { status, answer } = await send(`${url}/orders`, body)
    expect([status, answer]).toEqual([400, { error: expect.stringContaining(complaint) }])
    expect(await ordersAndJobs()).toEqual({ orders: 0, jobs: 0 })
  })

  // Mutant: the jobs enqueued on the pool instead of the transaction.
  test('an order that is rolled back leaves no job', async () => {
    const outOfStock = db.transaction().execute(async (trx) => {
      await placeOrder(trx, tea)
      throw new Error('out of stock')
    })
    await expect(outOfStock).rejects.toThrow('out of stock')
    expect(await ordersAndJobs()).toEqual({ orders: 0, jobs: 0 })
  })
})

test('with a worker: charged, and the receipt written', async () => {
  const { url } = await api()
  const worker = shopWorker(databaseUrl, db)
  const receiptWritten = new Promise<void>((resolve) => {
    worker.on('job.settled', ({ task }) => task === 'write-receipt' && resolve())
  })
  await worker.start()
  onTestFinished(() => worker.stop())
  await send(`${url}/orders`, tea)
  await receiptWritten
  expect((await send(`${url}/orders/1`)).answer).toMatchObject({
    charged_cents: 1_380,
    receipt: 'Receipt for order 1: 13.80 EUR, paid.',
  })
})

// Mutant: no key.
test('POST /restock enqueues one job until that has begun, however often it is called', async () => {
  const { url } = await api()
  const restock = async () => (await send(`${url}/restock`, '')).answer
  const answers = await Promise.all([restock(), restock(), restock()])
  expect(answers.map(({ status }) => status).sort()).toEqual(['duplicate', 'duplicate', 'inserted'])
  expect(new Set(answers.map(({ job }) => job)).size).toBe(1)
  expect(await countJobs(db)).toMatchObject([{ task: 'restock-sold', jobs: 1 }])
})

test('POST /restock orders again what was sold', async () => {
  const { url } = await api()
  for (const sku of ['tea', 'mug']) await send(`${url}/orders`, { ...tea, sku })
  const worker = shopWorker(databaseUrl, db)
  let left = 2
  const restocked = new Promise<void>((resolve) => {
    worker.on('job.settled', ({ task }) => task === 'restock' && --left === 0 && resolve())
  })
  await worker.start()
  onTestFinished(() => worker.stop())
  expect(await send(`${url}/restock`, '')).toMatchObject({ status: 202, answer: { status: 'inserted' } })
  await restocked
  const deliveries = await db.selectFrom('shop.deliveries').select('sku').orderBy('order_id').execute()
  expect(deliveries).toEqual([{ sku: 'tea' }, { sku: 'mug' }])
})

test('GET /jobs counts them by queue, task and state', async () => {
  const { url } = await api()
  await send(`${url}/orders`, tea)
  const { answer } = await send(`${url}/jobs`)
  expect(answer).toHaveLength(4)
  expect(answer).toContainEqual(
    expect.objectContaining({ queue: 'default', task: 'follow-up', state: 'scheduled', jobs: 1 }),
  )
})

test.each(['/orders/1', '/orders/99999999999', '/orders/x', '/'])('GET %s: nothing is there', async (path) => {
  const { url } = await api()
  expect(await send(url + path)).toMatchObject({ status: 404, answer: { error: `There is no ${path}.` } })
})

test('a port that is taken', async () => {
  const other = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void other.close())
  await once(other, 'listening')
  await expect(serveApi(shopApi(db), (other.address() as AddressInfo).port)).rejects.toMatchObject({
    code: 'EADDRINUSE',
  })
})
