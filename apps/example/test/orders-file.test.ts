import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, test } from 'vitest'
import { readOrders } from '../src/once/orders-file.js'

const folder = mkdtempSync(join(tmpdir(), 'pgq-orders-'))
afterAll(() => rmSync(folder, { recursive: true }))

function readText(text: string) {
  const file = join(folder, 'orders.csv')
  writeFileSync(file, text)
  return readOrders(file)
}

test('the orders that come along: 5,000', async () => {
  expect(await readOrders(fileURLToPath(new URL('../data/orders.csv', import.meta.url)))).toHaveLength(5_000)
})

test('as a spreadsheet writes it: a mark at the beginning, quotes, columns in any order, an empty line', async () => {
  expect(await readText('\ufeffquantity,"customer",sku\r\n2,"a@shop.test", tea \r\n\r\n')).toEqual([
    { customer: 'a@shop.test', sku: 'tea', quantity: 2 },
  ])
})

test.each([
  [
    'an order of nothing',
    'customer,sku,quantity\na@b.test,tea,1\n\na@b.test,tea,x\n',
    /orders\.csv, line 4:\n.*number/,
  ],
  ['an unknown article', 'customer,sku,quantity\na@b.test,gold,1\n', /orders\.csv, line 2:\n.*Not in the catalog/],
  ['a column too few', 'customer,sku\na@b.test,tea\n', /orders\.csv, line 2:\n.*\n.*at quantity/],
  ['a line that is too short', 'customer,sku,quantity\na@b.test,tea\n', /orders\.csv: Invalid Record Length.* line 2/],
  ['no order', 'customer,sku,quantity\n', /orders\.csv has no orders/],
  ['nothing', '', /orders\.csv has no orders/],
])('a file with %s is refused by file and line', async (_, text, complaint) => {
  await expect(readText(text)).rejects.toThrow(complaint)
})

test('a file that is not there', async () => {
  await expect(readOrders(join(folder, 'missing.csv'))).rejects.toThrow(/no such file .*missing\.csv/)
})
