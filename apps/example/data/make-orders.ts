// Writes orders.csv. The seed is fixed: whoever runs this gets the same 5,000 orders.
import { writeFileSync } from 'node:fs'
import { catalog } from '../src/catalog.js'

let seed = 2026
const skus = Object.keys(catalog)
const lines = Array.from({ length: 5_000 }, () => {
  const customer = `customer${below(2_000)}@example.com`
  return `${customer},${skus[below(skus.length)]},${1 + below(5)}\n`
})
writeFileSync(new URL('orders.csv', import.meta.url), `customer,sku,quantity\n${lines.join('')}`)

/** The Park-Miller generator: a whole number from 0 to limit - 1. */
function below(limit: number): number {
  seed = (seed * 48_271) % 2_147_483_647
  return seed % limit
}
