import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { sql } from 'kysely'
import { afterAll, describe, expect, test } from 'vitest'
import { catalog } from '../src/catalog.js'
import { shopDatabase } from './shop-database.js'
import { shopProcess } from './shop-process.js'

const { url: databaseUrl, db } = await shopDatabase()
const nowhere = 'postgres://postgres@127.0.0.1:1/postgres'
const folder = mkdtempSync(join(tmpdir(), 'pgq-orders-'))
afterAll(() => rmSync(folder, { recursive: true }))

function ordersFile(text: string): string {
  const file = join(folder, 'orders.csv')
  writeFileSync(file, text)
  return file
}

const skus = Object.keys(catalog)
/** So many orders, a third of them downloads. */
function orders(count: number): string {
  const lines = Array.from(
    { length: count },
    (_, n) => `customer${n}@shop.test,${skus[n % skus.length]},${1 + (n % 3)}`,
  )
  return ordersFile(['customer,sku,quantity', ...lines].join('\n'))
}

/** Runs, failed and retried of each task, as the table has them. */
const figuresIn = (stdout: string) =>
  Object.fromEntries(
    [...stdout.matchAll(/^ {2}([a-z-]+) +(\d+) +(\d+) +(\d+) /gm)].map(([, task, ...figures]) => [
      task,
      figures.join(' '),
    ]),
  )

describe('--once', { timeout: 60_000 }, () => {
  // Mutants: DATABASE_URL passed over; the report before the worker has told of its last jobs.
  test('places the orders in the database of DATABASE_URL, tells what happened, and exits 0', async () => {
    const shop = shopProcess(['--once', '--orders', orders(60)], { databaseUrl })
    expect(await shop.ended, shop.stdout + shop.stderr).toEqual({ code: 0, signal: null })
    expect(await db.selectFrom('shop.orders').select(sql`count(*)::int`.as('count')).execute()).toEqual([{ count: 60 }])
    expect(figuresIn(shop.stdout)).toEqual({
      'charge-order': '60 0 0',
      restock: '60 0 0',
      'restock-sold': '1 0 0',
      'write-receipt': '60 0 0',
      'send-mail': '62 2 2', // every 25th order is turned away at first
      'follow-up': '20 0 0',
      'count-sale': '60 0 0',
    })
    expect(shop.stdout).toContain('\norders 60/60   jobs 321/321\n')
    expect(shop.stdout).toMatch(/^60 orders and 321 jobs in [\d.]+ s$/m)
    expect(shop.stdout).toMatch(/^ok {5}every order is charged once, with its total$/m)
    expect(shop.stdout).toMatch(/\nThe books are right\.\n$/)
    expect(shop.stdout).not.toContain('\x1b')
    expect(shop.stderr).toBe('')
    expect(shop.databaseFolders()).toEqual([])
  })

  // Mutant: exit 0 whatever the books say.
  test('exits 1 when the books are wrong, and says what and where', async () => {
    await sql`insert into shop.orders (customer, sku, quantity, total_cents) values ('a@shop.test', 'tea', 1, 690)`.execute(
      db,
    )
    const shop = shopProcess(['--once', '--orders', orders(1)], { databaseUrl })
    expect(await shop.ended, shop.stdout + shop.stderr).toEqual({ code: 1, signal: null })
    expect(shop.stdout).toMatch(
      /^WRONG {2}every order is charged once, with its total: not so for 1, such as order 1$/m,
    )
    expect(shop.stdout).toMatch(/^ok {5}no sale is counted twice$/m)
    expect(shop.stdout).toMatch(/\nThe books are wrong\.\n$/)
  })

  // Mutant: an EPIPE that nobody listens to.
  test('ends without a word when nobody reads on, as in `| head`', async () => {
    const shop = shopProcess(['--once', '--orders', orders(2_000)], { databaseUrl })
    await shop.printed(/orders/)
    shop.child.stdout!.destroy()
    expect(await shop.ended).toEqual({ code: 141, signal: null })
    expect(shop.stderr).toBe('')
  })

  test('exits 2, and starts nothing, when the file of orders is broken', async () => {
    const file = ordersFile('customer,sku,quantity\na@shop.test,gold,1\n')
    const shop = shopProcess(['--once', '--orders', file], { databaseUrl: nowhere })
    expect(await shop.ended).toEqual({ code: 2, signal: null })
    expect(shop.stderr).toBe(`${file}, line 2:\n✖ Not in the catalog\n  → at sku\n`)
    expect(shop.stdout).toBe('')
  })
})

describe('the command line', { timeout: 30_000 }, () => {
  test.each([
    [['--onse'], 'Unknown option `--onse`'],
    [['once'], 'Unused args: `once`'],
    [['--port', '70000'], '--port 70000 is no port'],
    [['--orders', 'x.csv'], '--orders is for --once'],
  ])('%j: exits 2', async (args, complaint) => {
    const shop = shopProcess(args, { databaseUrl: nowhere })
    expect(await shop.ended).toEqual({ code: 2, signal: null })
    expect(shop.stderr).toBe(`${complaint}. See: npm start -- --help\n`)
  })

  test('--help tells the options and the exit codes', async () => {
    const shop = shopProcess(['--help'])
    expect(await shop.ended).toEqual({ code: 0, signal: null })
    for (const text of ['npm start --', '--once', '--orders <file>', '--port <port>', '1  the books are wrong'])
      expect(shop.stdout).toContain(text)
  })
})
