import { countJobs, type JobCount } from '@pgq/monitor'
import { sql } from 'kysely'
import { catalog } from '../catalog.js'
import type { ShopDatabase } from '../database.js'
import { tasks } from '../tasks.js'

/** Something that must be true of the shop when no job is left to run. */
export interface Entry {
  readonly claim: string
  /** What contradicts it; undefined when it is true. */
  readonly wrong: string | undefined
}

const SHOWN = 5

export async function checkBooks(db: ShopDatabase): Promise<Entry[]> {
  const checks = Object.entries(offendingOrders).map(async ([claim, query]) => {
    const { rows } = await query.execute(db)
    const ids = rows.slice(0, SHOWN).map(({ id }) => id)
    return { claim, wrong: rows.length > 0 ? `not so for ${rows.length}, such as order ${ids.join(', ')}` : undefined }
  })
  return [...(await Promise.all(checks)), ...(await checkJobs(db))]
}

/** Every job of the shop, counted one by one: an estimate would not do for books. */
export async function countShopJobs(db: ShopDatabase): Promise<JobCount[]> {
  const names = new Set(Object.values(tasks).map(({ name }) => name))
  return (await countJobs(db, { exact: true })).filter(({ task }) => names.has(task))
}

const downloads = Object.keys(catalog).filter((sku) => catalog[sku]!.isDownload)

// Full joins: they also find what was written for an order that does not exist.
const offendingOrders = {
  'every order is charged once, with its total': sql<{ id: number }>`
    select coalesce(id, order_id) as id from shop.orders full join shop.charges on order_id = id
    group by 1 having count(*) > 1 or max(amount_cents) is distinct from max(total_cents) order by 1`,
  'every receipt is written once': sql<{ id: number }>`
    select coalesce(id, order_id) as id from shop.orders full join shop.receipts on order_id = id
    group by 1 having count(*) > 1 or max(order_id) is distinct from max(id) order by 1`,
  'every customer has a mail': sql<{ id: number }>`
    select coalesce(id, order_id) as id from shop.orders full join shop.mails on order_id = id
    where order_id is distinct from id or address <> customer order by 1`,
  'no sale is counted twice': sql<{ id: number }>`
    select order_id as id from shop.sales group by 1 having count(*) > 1 order by 1`,
  'every download has its follow-up, no parcel has it early': sql<{ id: number }>`
    select id from shop.orders left join shop.follow_ups on order_id = id
    where case when sku = any(${downloads}) then order_id is null
      else order_id is not null and placed_at > now() - interval '14 days' end order by 1`,
  'what was ordered again came once, in its quantity': sql<{ id: number }>`
    select coalesce(orders.id, order_id) as id
    from shop.orders full join shop.deliveries as delivery on order_id = id
    group by 1 having count(*) > 1
      or max(delivery.quantity) is distinct from max(orders.quantity) filter (where restock_ordered) order by 1`,
}

async function checkJobs(db: ShopDatabase): Promise<Entry[]> {
  const counts = await countShopJobs(db)
  const sum = (isMeant: (count: JobCount) => boolean) =>
    counts.filter(isMeant).reduce((total, { jobs }) => total + jobs, 0)
  const dead = sum(({ state }) => state === 'dead')
  const waiting = sum(({ state, task }) => state === 'scheduled' && task === tasks.followUp.name)
  const left = sum(({ state }) => state !== 'dead') - waiting
  const { expected } = await db
    .selectFrom('shop.orders')
    .where('sku', 'not in', downloads)
    .where('id', 'not in', (eb) => eb.selectFrom('shop.follow_ups').select('order_id'))
    .select(({ fn }) => fn.countAll<string>().as('expected'))
    .executeTakeFirstOrThrow()
  return [
    { claim: 'no job is a dead letter', wrong: dead > 0 ? `${dead} are` : undefined },
    {
      claim: 'no job is left but the follow-ups of parcels',
      wrong:
        left > 0 || waiting !== Number(expected)
          ? `${left} others, and ${waiting} follow-ups for ${expected} parcels`
          : undefined,
    },
  ]
}
