import { readFile } from 'node:fs/promises'
import { parse } from 'csv-parse/sync'
import { z } from 'zod'
import { type NewOrder, newOrder } from '../orders.js'

/** The orders of a CSV file. Throws when it cannot be read, is empty, or when one of them is no order, and says which. */
export async function readOrders(file: string): Promise<NewOrder[]> {
  const records = parseCsv(file, await readFile(file, 'utf8'))
  if (records.length === 0) throw new Error(`${file} has no orders.`)
  return records.map(({ record, info }) => {
    const order = newOrder.safeParse(record)
    if (!order.success) throw new Error(`${file}, line ${info.lines}:\n${z.prettifyError(order.error)}`)
    return order.data
  })
}

interface CsvRecord {
  readonly record: unknown
  readonly info: { readonly lines: number }
}

function parseCsv(file: string, text: string): CsvRecord[] {
  try {
    const options = { bom: true, columns: true, info: true, skip_empty_lines: true, trim: true } as const
    return parse(text, options) as unknown as CsvRecord[]
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`, { cause: error })
  }
}
