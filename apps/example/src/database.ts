import { migrate } from '@pgq/migrations'
import { type Generated, Kysely, PostgresDialect, sql } from 'kysely'
import pg from 'pg'

export interface Shop {
  'shop.orders': {
    id: Generated<number>
    customer: string
    sku: string
    quantity: number
    total_cents: number
    restock_ordered: Generated<boolean>
    placed_at: Generated<Date>
  }
  'shop.charges': { order_id: number; amount_cents: number }
  'shop.receipts': { order_id: number; text: string }
  'shop.mails': { order_id: number; address: string }
  'shop.sales': { order_id: number }
  'shop.follow_ups': { order_id: number }
  'shop.deliveries': { order_id: number; sku: string; quantity: number }
}

export type ShopDatabase = Kysely<Shop>

// The handlers of two modes, ten at a time each, take a connection while they run, and ten are left for the API. With ten in all,
// handlers held their slots while they waited for one: a mail went out after 17 s in the rush of --once, and now after 1 s.
const POOL_SIZE = 30

/** One pool for the shop's own queries. The queue needs none of its own: jobs are enqueued on the shop's transactions. */
export function connect(connectionString: string): ShopDatabase {
  const pool = new pg.Pool({ connectionString, max: POOL_SIZE, connectionTimeoutMillis: 10_000 })
  // Without listeners, a connection that the server ends would end this process.
  const note = (error: Error) => console.error(`database: ${error.message}`)
  pool.on('error', note)
  pool.on('connect', (client) => client.on('error', () => {}))
  return new Kysely<Shop>({ dialect: new PostgresDialect({ pool }) })
}

/** The queue's tables come with pgq, into the schema `pgq`; the shop's own are here, in `shop`. Both may run again. */
export async function migrateAll(connectionString: string, db: ShopDatabase): Promise<void> {
  await migrate(connectionString)
  // On purpose no unique constraints on what jobs write: they would hide a job that ran twice, which the books shall show.
  await sql`
    create schema if not exists shop;
    create table if not exists shop.orders (
      id integer primary key generated always as identity,
      customer text not null,
      sku text not null,
      quantity integer not null,
      total_cents integer not null,
      restock_ordered boolean not null default false,
      placed_at timestamptz not null default now()
    );
    create table if not exists shop.charges (order_id integer not null, amount_cents integer not null);
    create table if not exists shop.receipts (order_id integer not null, text text not null);
    create table if not exists shop.mails (order_id integer not null, address text not null);
    create table if not exists shop.sales (order_id integer not null);
    create table if not exists shop.follow_ups (order_id integer primary key);
    create table if not exists shop.deliveries (order_id integer not null, sku text not null, quantity integer not null)
  `.execute(db)
}
