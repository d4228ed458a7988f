import { countJobs } from '@pgq/monitor'
import { sql } from 'kysely'
import { catalog } from './catalog.js'
import type { ShopDatabase } from './database.js'
import { tasks } from './tasks.js'

/** Everything that must be true of the shop when no job is left: a sentence for each thing that is not. */
export async function checkBooks(db: ShopDatabase): Promise<string[]> {
  return [...(await checkOrders(db)), ...(await checkJobs(db))]
}

async function checkOrders(db: ShopDatabase): Promise<string[]> {
  const downloads = Object.keys(catalog).filter((sku) => catalog[sku]!.isDownload)
  const claims: Record<string, ReturnType<typeof sql<boolean>>> = {
    'are not charged exactly once, with their total': sql`charges is distinct from 1 or charged is distinct from total_cents`,
    'have not exactly one receipt': sql`receipts is distinct from 1`,
    'have had no mail': sql`mails is null`,
    'are counted as more than one visit': sql`visits > 1`,
    'have no follow-up although it is due': sql`sku = any(${downloads}) and follow_ups is null`,
    'have a follow-up that is not due': sql`sku <> all(${downloads}) and follow_ups is not null`,
    'are not restocked exactly once, with their quantity': sql`deliveries is distinct from restock_ordered::int
      or restock_ordered and restocked is distinct from quantity`,
  }
  const { rows } = await sql<{ claim: string; orders: number; examples: number[] }>`
    with account as materialized (
      select *
      from shop.orders
      left join (select order_id as id, count(*) as charges, sum(amount_cents) as charged from shop.charges group by 1) as charge using (id)
      left join (select order_id as id, count(*) as receipts from shop.receipts group by 1) as receipt using (id)
      left join (select order_id as id, count(*) as mails from shop.mails group by 1) as mail using (id)
      left join (select order_id as id, count(*) as visits from shop.visits group by 1) as visit using (id)
      left join (select order_id as id, count(*) as follow_ups from shop.follow_ups group by 1) as follow_up using (id)
      left join (
        select order_id as id, nullif(count(*), 0) as deliveries, sum(delivery.quantity) as restocked
        from shop.deliveries as delivery group by 1
      ) as delivery using (id)
    )
    ${sql.join(
      Object.entries(claims).map(
        ([claim, isWrong]) => sql`
          select ${claim}::text as claim, count(*)::int as orders, (array_agg(id order by id))[1:5] as examples
          from account where ${isWrong} having count(*) > 0`,
      ),
      sql` union all `,
    )}`.execute(db)
  return rows.map(({ claim, orders, examples }) => `${orders} orders ${claim}: number ${examples.join(', ')}`)
}

async function checkJobs(db: ShopDatabase): Promise<string[]> {
  const counts = await countJobs(db)
  const sum = (isMeant: (count: (typeof counts)[number]) => boolean) =>
    counts.filter(isMeant).reduce((total, { jobs }) => total + jobs, 0)
  const dead = sum(({ state }) => state === 'dead')
  const scheduled = sum(({ state, task }) => state === 'scheduled' && task === tasks.followUp.name)
  const left = sum(({ state }) => state !== 'dead') - scheduled
  const parcels = Object.keys(catalog).filter((sku) => !catalog[sku]!.isDownload)
  const { expected } = await db
    .selectFrom('shop.orders')
    .where('sku', 'in', parcels)
    .select(({ fn }) => fn.countAll<string>().as('expected'))
    .executeTakeFirstOrThrow()
  return [
    ...(dead > 0 ? [`${dead} jobs are dead letters`] : []),
    ...(left > 0 ? [`${left} jobs are left`] : []),
    ...(scheduled !== Number(expected)
      ? [`${scheduled} follow-ups are scheduled, and ${expected} parcels are sold`]
      : []),
  ]
}
