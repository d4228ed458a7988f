import { handleAll, type TransactionalJob } from '@pgq/core'
import { createWorker, type Worker, type WorkerOptions } from '@pgq/worker'
import { sql } from 'kysely'
import type { Shop, ShopDatabase } from './database.js'
import { fakeMailServer, type MailServer } from './mail-server.js'
import { restockSold } from './orders.js'
import { tasks } from './tasks.js'

/** How each task is done; a task without a handler does not compile. The tests run these without a worker. */
export const shopHandlers = (db: ShopDatabase, mails: MailServer = fakeMailServer(db)) =>
  handleAll(tasks, {
    // transactional: job.trx commits together with the removal of the job, or not at all.
    chargeOrder: async ({ orderId }, { trx }: TransactionalJob<Shop>) => {
      const charge = trx.selectFrom('shop.orders').where('id', '=', orderId).select(['id', 'total_cents'])
      await trx
        .insertInto('shop.charges')
        .columns(['order_id', 'amount_cents'])
        .expression(charge)
        .returning('order_id')
        .executeTakeFirstOrThrow() // an order that is not there is not charged
      // The next step belongs to the same transaction: no receipt without a charge, no charge without a receipt.
      await tasks.writeReceipt.enqueue(trx, { orderId })
    },

    // at-least-once, made exactly-once: the receipt and the end of the job commit together.
    writeReceipt: async ({ orderId }, job) => {
      await db.transaction().execute(async (trx) => {
        const receipt = trx.selectFrom('shop.orders').where('id', '=', orderId).select(['id', receiptText])
        await trx
          .insertInto('shop.receipts')
          .columns(['order_id', 'text'])
          .expression(receipt)
          .returning('order_id')
          .executeTakeFirstOrThrow()
        await job.finish(trx)
      })
    },

    // at-least-once: an error is thrown on purpose to be retried; the signal ends what takes too long.
    sendMail: async ({ orderId, to }, job) => {
      await mails.send({ orderId, to, attempt: job.attempt, signal: job.signal })
    },

    // at-most-once: the job is gone before this runs.
    countSale: async ({ orderId }) => {
      await db.insertInto('shop.sales').values({ order_id: orderId }).execute()
    },

    // at-least-once, and harmless when it runs twice: the simplest way, wherever it is possible.
    followUp: async ({ orderId }) => {
      await db
        .insertInto('shop.follow_ups')
        .values({ order_id: orderId })
        .onConflict((conflict) => conflict.doNothing())
        .execute()
    },

    // transactional: each delivery is noted once.
    restock: async ({ orderId, sku, quantity }, { trx }: TransactionalJob<Shop>) => {
      await trx.insertInto('shop.deliveries').values({ order_id: orderId, sku, quantity }).execute()
    },

    // transactional: what was sold is marked together with the jobs that order it again.
    restockSold: async (_, { trx }: TransactionalJob<Shop>) => {
      await restockSold(trx)
    },
  })

const receiptText = sql<string>`
  format('Receipt for order %s: %s EUR, paid.', id, round(total_cents / 100.0, 2))`.as('text')

export const shopWorker = (
  connectionString: string,
  db: ShopDatabase,
  { around }: Pick<WorkerOptions, 'around'> = {},
): Worker =>
  createWorker({
    connectionString,
    handlers: shopHandlers(db),
    // These handlers are short: up to 20 of them share a commit.
    transactionalGroup: 20,
    ...(around && { around }),
    // main.ts stops everything in its order, and a demo should end at once. In production, leave both out.
    handleSignals: false,
    graceMs: 300,
  })
