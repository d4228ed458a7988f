import { sql } from 'kysely'
import { beforeEach, expect, test } from 'vitest'
import { checkBooks } from '../src/once/books.js'
import { placeOrder } from '../src/orders.js'
import { shopDatabase } from './shop-database.js'

const { db } = await shopDatabase()
const run = (statements: string) => sql.raw(statements).execute(db)
const wrong = async () => (await checkBooks(db)).filter((entry) => entry.wrong)

// What three orders look like when all is done: two parcels, whose follow-ups wait, and a download. The first two were
// ordered again.
beforeEach(async () => {
  for (const sku of ['tea', 'mug', 'tea-book']) {
    const order = { customer: 'me@shop.test', sku, quantity: 2 }
    await db.transaction().execute((trx) => placeOrder(trx, order))
  }
  await run(`
    delete from pgq.jobs where task <> 'follow-up' or (args->>'orderId')::int = 3;
    update shop.orders set restock_ordered = true where id <= 2;
    insert into shop.charges select id, total_cents from shop.orders;
    insert into shop.receipts select id, 'paid' from shop.orders;
    insert into shop.mails select id, customer from shop.orders;
    insert into shop.sales select id from shop.orders;
    insert into shop.follow_ups values (3);
    insert into shop.deliveries select id, sku, quantity from shop.orders where restock_ordered`)
})

test('books that are right', async () => {
  expect(await wrong()).toEqual([])
  expect(await checkBooks(db)).toHaveLength(8)
})

// Each is a mutant of the shop, and the one claim that it breaks.
test.each([
  ['not charged', 'delete from shop.charges where order_id = 2', /^every order is charged once.* for 1, .* 2$/],
  ['charged twice', 'insert into shop.charges values (1, 1380)', /^every order is charged once.* 1$/],
  [
    'charged too little',
    'update shop.charges set amount_cents = 1 where order_id = 3',
    /^every order is charged .* 3$/,
  ],
  ['charged without an order', 'insert into shop.charges values (9, 1)', /^every order is charged once.* 9$/],
  ['no receipt', 'delete from shop.receipts', /^every receipt is written once: not so for 3, such as order 1, 2, 3$/],
  ['two receipts', "insert into shop.receipts values (2, '')", /^every receipt is written once.* 2$/],
  ['a receipt without an order', "insert into shop.receipts values (9, '')", /^every receipt is written once.* 9$/],
  ['no mail', 'delete from shop.mails where order_id = 1', /^every customer has a mail.* 1$/],
  ['a mail to somebody else', "update shop.mails set address = 'x' where order_id = 2", /^every customer has.* 2$/],
  ['counted twice', 'insert into shop.sales values (3)', /^no sale is counted twice.* 3$/],
  ['a download without follow-up', 'delete from shop.follow_ups', /^every download has its follow-up.* 3$/],
  ['restocked twice', "insert into shop.deliveries values (1, 'tea', 2)", /^what was ordered again came once.* 1$/],
  [
    'restocked too little',
    'update shop.deliveries set quantity = 1 where order_id = 1',
    /^what was ordered again.* 1$/,
  ],
  ['restocked unasked', "insert into shop.deliveries values (3, 'tea-book', 2)", /^what was ordered again.* 3$/],
  ['not restocked', 'delete from shop.deliveries where order_id = 1', /^what was ordered again came once.* 1$/],
  ['a job is left', "select pgq.enqueue('restock')", /^no job is left .* 1 others, and 2 follow-ups for 2 parcels$/],
  ['a follow-up is gone', 'delete from pgq.jobs where id = 4', /^no job is left .* 1 follow-ups for 2 parcels$/],
])('%s', async (_, mutant, claim) => {
  await run(mutant)
  expect((await wrong()).map((entry) => `${entry.claim}: ${entry.wrong}`)).toEqual([expect.stringMatching(claim)])
})

test('a follow-up before its time', async () => {
  await run("insert into shop.follow_ups values (1); delete from pgq.jobs where (args->>'orderId')::int = 1")
  expect(await wrong()).toMatchObject([{ claim: 'every download has its follow-up, no parcel has it early' }])
})

test('a follow-up after its time', async () => {
  await run(`insert into shop.follow_ups values (1); delete from pgq.jobs where (args->>'orderId')::int = 1;
    update shop.orders set placed_at = now() - interval '15 days'`)
  expect(await wrong()).toEqual([])
})

test('a dead letter', async () => {
  await run(`insert into pgq.dead_jobs (id, created_at, ready_at, reason, priority, attempt, crash_count, queue, task, args)
    values (99, now(), now(), 'failed', 0, 1, 0, 'default', 'send-mail', '{}')`)
  expect(await wrong()).toEqual([{ claim: 'no job is a dead letter', wrong: '1 are' }])
})

test("other programs' jobs in the same queue are none of the shop's", async () => {
  await run("select pgq.enqueue('something-else')")
  expect(await wrong()).toEqual([])
})

// Mutant: counts that are estimated, as they are for a table of this size unless exact ones are asked for.
test('many follow-ups, one of them gone', async () => {
  await run(`
    with parcel as (
      insert into shop.orders (customer, sku, quantity, total_cents) select 'me@shop.test', 'tea', 1, 690 from generate_series(1, 100000)
      returning id
    )
    insert into pgq.jobs (queue, task, args, execute_at)
    select 'default', 'follow-up', json_build_object('orderId', id), now() + interval '14 days' from parcel where id <> 50000`)
  expect((await wrong()).at(-1)?.wrong).toBe('0 others, and 100001 follow-ups for 100002 parcels')
})
