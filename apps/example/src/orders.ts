import { z } from 'zod'
import { catalog } from './catalog.js'
import type { ShopDatabase } from './database.js'
import { tasks } from './tasks.js'

const DAY_MS = 86_400_000

export const newOrder = z.object({
  customer: z.email(),
  sku: z.string().refine((sku) => Object.hasOwn(catalog, sku), { error: 'is not in the catalog' }),
  quantity: z.coerce.number().int().min(1).max(100),
})
export type NewOrder = z.infer<typeof newOrder>

/** The order and its jobs are one transaction: there is no order without its jobs, and no job for an order that was undone. */
export function placeOrder(db: ShopDatabase, { customer, sku, quantity }: NewOrder): Promise<number> {
  const { priceCents, isDownload } = catalog[sku]!
  return db.transaction().execute(async (trx) => {
    const { id: orderId } = await trx
      .insertInto('shop.orders')
      .values({ customer, sku, quantity, total_cents: priceCents * quantity })
      .returning('id')
      .executeTakeFirstOrThrow()
    // Awaited together, they travel to the database as one statement.
    await Promise.all([
      tasks.chargeOrder.enqueue(trx, { orderId }),
      tasks.sendMail.enqueue(trx, { orderId, to: customer }),
      tasks.trackVisit.enqueue(trx, { orderId }),
      tasks.followUp.enqueue(trx, { orderId }, { delayMs: isDownload ? 2_000 : 14 * DAY_MS }),
    ])
    return orderId
  })
}

/** What stands in the shop about one order; undefined when there is none. */
export function findOrder(db: ShopDatabase, id: number) {
  return db
    .selectFrom('shop.orders as order')
    .leftJoin('shop.charges as charge', 'charge.order_id', 'order.id')
    .leftJoin('shop.receipts as receipt', 'receipt.order_id', 'order.id')
    .where('order.id', '=', id)
    .select([
      'id',
      'customer',
      'sku',
      'quantity',
      'total_cents',
      'amount_cents as charged_cents',
      'receipt.text as receipt',
    ])
    .executeTakeFirst()
}

/** Orders again what was sold since the last call. Answers the number of jobs: any number of them is one statement. */
export function restockSold(db: ShopDatabase): Promise<number> {
  return db.transaction().execute(async (trx) => {
    const sold = await trx
      .updateTable('shop.orders')
      .set({ restock_ordered: true })
      .where('restock_ordered', '=', false)
      .returning(['id as orderId', 'sku', 'quantity'])
      .execute()
    const created = await tasks.restock.enqueueMany(
      trx,
      sold.map((args) => ({ args })),
    )
    return created.length
  })
}
