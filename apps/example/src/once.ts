import { readFile } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import { countJobs } from '@pgq/monitor'
import type { Worker } from '@pgq/worker'
import Table from 'cli-table3'
import { parse } from 'csv-parse/sync'
import { z } from 'zod'
import { checkBooks } from './books.js'
import type { ShopDatabase } from './database.js'
import { type NewOrder, newOrder } from './orders.js'
import { startProgress } from './progress.js'
import { tasks } from './tasks.js'

const CUSTOMERS_AT_A_TIME = 16
const POLL_MS = 100
const STALLED_MS = 30_000
const HOUR_MS = 3_600_000
/** charge, receipt, mail, visit and restock; the follow-up of a parcel only waits. */
const JOBS_PER_ORDER = 5

/** The orders of a CSV file. Throws when one of them is not an order, and says which. */
export async function readOrders(file: string): Promise<NewOrder[]> {
  const lines: unknown[] = parse(await readFile(file, 'utf8'), { columns: true, skip_empty_lines: true, trim: true })
  return lines.map((line, index) => {
    const order = newOrder.safeParse(line)
    if (!order.success) throw new Error(`${file}: order ${index + 1}\n${z.prettifyError(order.error)}`)
    return order.data
  })
}

/** Places the orders over HTTP, waits for all that follows, and answers what is wrong then: nothing, when all is well. */
export async function runOnce(
  { db, worker, apiUrl, signal }: { db: ShopDatabase; worker: Worker; apiUrl: string; signal: AbortSignal },
  orders: readonly NewOrder[],
): Promise<string[]> {
  const tally = tallyJobs(worker)
  const startedAt = performance.now()

  const placing = startProgress('orders', orders.length)
  await placeAll(orders, apiUrl, placing.step)
  placing.stop()
  await post(`${apiUrl}/restock`)

  const working = startProgress('jobs', orders.length * JOBS_PER_ORDER, () => tally.done)
  await allDone(db, () => tally.runs, signal)
  working.stop()

  const seconds = (performance.now() - startedAt) / 1000
  printReport(orders.length, tally, seconds)
  return checkBooks(db)
}

async function placeAll(orders: readonly NewOrder[], apiUrl: string, onPlaced: () => void): Promise<void> {
  // One iterator for all: each customer takes the next order that nobody has taken.
  const waiting = orders.values()
  const customer = async () => {
    for (const order of waiting) {
      await post(`${apiUrl}/orders`, order)
      onPlaced()
    }
  }
  await Promise.all(Array.from({ length: CUSTOMERS_AT_A_TIME }, customer))
}

async function post(url: string, body: unknown = {}): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  const answer = await response.text()
  if (!response.ok) throw new Error(`POST ${url}: ${response.status} ${answer}`)
}

/** Resolves when no job is left but those for another day. */
async function allDone(db: ShopDatabase, runs: () => number, signal: AbortSignal): Promise<void> {
  let before = -1
  let movedAt = performance.now()
  for (;;) {
    const inAnHour = new Date(Date.now() + HOUR_MS)
    const counts = await countJobs(db)
    if (counts.every(({ state, oldest }) => state === 'dead' || (state === 'scheduled' && oldest! > inAnHour))) return
    if (runs() !== before) movedAt = performance.now()
    before = runs()
    // The books will tell what is missing.
    if (performance.now() - movedAt > STALLED_MS) return console.error(`No job has run for ${STALLED_MS / 1000} s.`)
    await delay(POLL_MS, undefined, { signal })
  }
}

interface Tally {
  runs: number
  done: number
  readonly byTask: ReadonlyMap<string, { done: number; retries: number; dead: number }>
}

/** The worker tells of each job when its end is durable. */
function tallyJobs(worker: Worker): Tally {
  const byTask = new Map(Object.values(tasks).map(({ name }) => [name, { done: 0, retries: 0, dead: 0 }]))
  const tally = { runs: 0, done: 0, byTask }
  worker.on('job.settled', ({ task, settlement }) => {
    const own = byTask.get(task)!
    tally.runs++
    if (settlement.kind === 'requeue') own.retries++
    else if (settlement.kind === 'bury') own.dead++
    else {
      own.done++
      tally.done++
    }
  })
  return tally
}

function printReport(orders: number, { done, byTask }: Tally, seconds: number): void {
  const table = new Table({
    head: ['task', 'mode', 'done', 'retries', 'dead'],
    colAligns: ['left', 'left', 'right', 'right', 'right'],
    style: { head: [], border: [], compact: true },
  })
  for (const { name, mode } of Object.values(tasks)) {
    const own = byTask.get(name)!
    table.push([name, mode, own.done, own.retries, own.dead])
  }
  console.log(table.toString())
  const rate = Math.round(done / seconds)
  console.log(`${orders} orders and ${done} jobs in ${seconds.toFixed(1)} s: ${rate} jobs/s`)
}
