import { InvalidArgsError } from '@pgq/core'
import { type EagerQueueOptions, eagerQueue } from '@pgq/eager'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { ShopDatabase } from '../src/database.js'
import type { Mail, MailServer } from '../src/mail-server.js'
import { placeOrder, restockSold } from '../src/orders.js'
import { openSchedules, tasks } from '../src/tasks.js'
import { shopHandlers } from '../src/worker.js'
import { shopDatabase } from './shop-database.js'

const tea = { customer: 'me@shop.test', sku: 'tea', quantity: 2 }
const teaBook = { customer: 'me@shop.test', sku: 'tea-book', quantity: 1 }
const DAY_MS = 86_400_000

describe('without a database', () => {
  const noDatabase = null as unknown as ShopDatabase

  /** Turns away so many mails, then takes the rest. */
  function mailServer(turnsAway: number): MailServer & { readonly sent: Mail[] } {
    const sent: Mail[] = []
    return {
      sent,
      async send(mail) {
        if (turnsAway-- > 0) throw new Error('451 try again later')
        sent.push(mail)
      },
    }
  }

  test('a mail is sent when its job is enqueued', async () => {
    const mails = mailServer(0)
    const queue = eagerQueue({ handlers: shopHandlers(noDatabase, mails) })
    await tasks.sendMail.enqueue(queue, { orderId: 7, to: 'me@shop.test' })
    expect(mails.sent).toMatchObject([{ orderId: 7, to: 'me@shop.test', attempt: 1 }])
  })

  test('a busy mail server gets its mail at the third attempt', async () => {
    const mails = mailServer(2)
    const queue = eagerQueue({ handlers: shopHandlers(noDatabase, mails), onError: 'record' })
    await tasks.sendMail.enqueue(queue, { orderId: 7, to: 'me@shop.test' })
    expect(await queue.drain()).toBe(2)
    expect(mails.sent).toMatchObject([{ attempt: 3 }])
    expect(queue.jobs[0]).toMatchObject({ state: 'completed', attempts: 3 })
  })

  test('after eight attempts the mail is a dead letter', async () => {
    const queue = eagerQueue({ handlers: shopHandlers(noDatabase, mailServer(100)), onError: 'record' })
    await tasks.sendMail.enqueue(queue, { orderId: 7, to: 'me@shop.test' })
    await queue.drain()
    expect(queue.jobs[0]).toMatchObject({ state: 'dead', reason: 'exhausted', attempts: 8 })
  })

  test('args that no order has are refused where they are enqueued', async () => {
    const queue = eagerQueue({ handlers: shopHandlers(noDatabase) })
    await expect(tasks.chargeOrder.enqueue(queue, { orderId: 1.5 })).rejects.toThrow(InvalidArgsError)
    expect(queue.jobs).toEqual([])
  })
})

describe("on the test's transaction, which is rolled back", async () => {
  const { db } = await shopDatabase()

  /** A transaction of the test, and an eager queue that takes what is enqueued on it. */
  async function shop(options: Partial<EagerQueueOptions> = {}) {
    const trx = await db.startTransaction().execute()
    onTestFinished(async () => void (await trx.rollback().execute()))
    const queue = eagerQueue({ handlers: shopHandlers(trx), ...options })
    queue.attach(trx)
    return { trx, queue }
  }

  test('an order comes with its jobs', async () => {
    const { trx, queue } = await shop({ mode: 'manual' })
    const orderId = await placeOrder(trx, tea)
    expect(queue.jobs.map(({ task }) => task)).toEqual(['charge-order', 'send-mail', 'count-sale', 'follow-up'])
    queue.assertEnqueued(tasks.sendMail, { orderId, to: 'me@shop.test' })
  })

  test.each([
    ['a parcel after two weeks', tea, 14 * DAY_MS],
    ['a download after two seconds', teaBook, 2_000],
  ])('the follow-up of %s', async (_, order, delayMs) => {
    const { trx, queue } = await shop({ mode: 'manual' })
    const orderId = await placeOrder(trx, order)
    const [followUp] = queue.assertEnqueued(tasks.followUp, { orderId })
    expect(followUp!.executeAt!.getTime() - queue.now.getTime()).toBe(delayMs)
  })

  test('an order is charged its total, and the receipt is asked for', async () => {
    const { trx, queue } = await shop({ mode: 'manual' })
    const orderId = await placeOrder(trx, tea)
    await queue.drain({ maxJobs: 1 })
    expect(await trx.selectFrom('shop.charges').selectAll().execute()).toEqual([
      { order_id: orderId, amount_cents: 1_380 },
    ])
    queue.assertEnqueued(tasks.writeReceipt, { orderId })
  })

  test('an order that does not exist is not charged, and no receipt is asked for', async () => {
    const { trx, queue } = await shop({ onError: 'record' })
    await tasks.chargeOrder.enqueue(trx, { orderId: 404 })
    expect(queue.jobs).toMatchObject([{ state: 'scheduled', errors: [{ message: 'no result' }] }])
    expect(queue.enqueued(tasks.writeReceipt)).toEqual([])
  })

  test('what was sold is ordered again in one call, and only once', async () => {
    const { trx, queue } = await shop({ mode: 'manual' })
    await placeOrder(trx, tea)
    await placeOrder(trx, teaBook)
    expect([await restockSold(trx), await restockSold(trx)]).toEqual([2, 0])
    expect(queue.enqueued(tasks.restock).map(({ args }) => args)).toMatchObject([
      { sku: 'tea', quantity: 2 },
      { sku: 'tea-book', quantity: 1 },
    ])
  })

  test('every night, what was sold is ordered again', async () => {
    const { trx, queue } = await shop({ mode: 'manual', now: new Date('2030-01-01T12:00:00Z') })
    await openSchedules(queue)
    await trx
      .insertInto('shop.orders')
      .values({ ...tea, total_cents: 1_380 })
      .execute()
    await queue.advance(DAY_MS)
    expect(queue.enqueued(tasks.restock).map(({ args, createdAt }) => [args.sku, createdAt])).toEqual([
      ['tea', new Date('2030-01-02T02:00:00Z')],
    ])
  })

  test('a follow-up that runs twice asks once', async () => {
    const { trx } = await shop()
    await tasks.followUp.enqueue(trx, { orderId: 7 })
    await tasks.followUp.enqueue(trx, { orderId: 7 })
    expect(await trx.selectFrom('shop.follow_ups').selectAll().execute()).toEqual([{ order_id: 7 }])
  })
})

describe('on transactions of the handler', async () => {
  const { db } = await shopDatabase()

  test('a receipt names the order and its total', async () => {
    const orderId = await db.transaction().execute((trx) => placeOrder(trx, tea))
    const queue = eagerQueue({ handlers: shopHandlers(db) })
    await tasks.writeReceipt.enqueue(queue, { orderId })
    expect(await db.selectFrom('shop.receipts').selectAll().execute()).toEqual([
      { order_id: orderId, text: `Receipt for order ${orderId}: 13.80 EUR, paid.` },
    ])
  })
})
