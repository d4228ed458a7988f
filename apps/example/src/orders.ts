import type { Transaction } from 'kysely'
import { z } from 'zod'
import { catalog } from './catalog.js'
import type { Shop, ShopDatabase } from './database.js'
import { tasks } from './tasks.js'

const DAY_MS = 86_400_000

export const newOrder = z.object({
  customer: z.email(),
  sku: z.string().refine((sku) => Object.hasOwn(catalog, sku), { error: 'Not in the catalog' }),
  quantity: z.coerce.number().int().min(1).max(100),
})
export type NewOrder = z.infer<typeof newOrder>

/** Writes the order and its jobs as a part of the transaction: each exists if and only if the others do. Answers its id. */
export async function placeOrder(trx: Transaction<Shop>, { customer, sku, quantity }: NewOrder): Promise<number> {
  const { priceCents, isDownload } = catalog[sku]!
  const { id: orderId } = await trx
    .insertInto('shop.orders')
    .values({ customer, sku, quantity, total_cents: priceCents * quantity })
    .returning('id')
    .executeTakeFirstOrThrow()
  // Awaited together, they travel to the database as one statement.
  await Promise.all([
    tasks.chargeOrder.enqueue(trx, { orderId }),
    tasks.sendMail.enqueue(trx, { orderId, to: customer }),
    tasks.countSale.enqueue(trx, { orderId }),
    tasks.followUp.enqueue(trx, { orderId }, { delayMs: isDownload ? 2_000 : 14 * DAY_MS }),
  ])
  return orderId
}

/** What stands in the shop about one order; undefined when there is none. */
export function findOrder(db: ShopDatabase, id: number) {
  return db
    .selectFrom('shop.orders as order')
    .leftJoin('shop.charges as charge', 'charge.order_id', 'order.id')
    .leftJoin('shop.receipts as receipt', 'receipt.order_id', 'order.id')
    .where('order.id', '=', id)
    .select([
      'order.id',
      'order.customer',
      'order.sku',
      'order.quantity',
      'order.total_cents',
      'charge.amount_cents as charged_cents',
      'receipt.text as receipt',
    ])
    .executeTakeFirst()
}

/** Orders again what was sold since the last call. Answers the number of jobs: any number of them is one statement. */
export async function restockSold(trx: Transaction<Shop>): Promise<number> {
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
}
