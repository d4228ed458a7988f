import { setTimeout as delay } from 'node:timers/promises'
import { runSchedule } from '@pgq/core'
import type { Worker } from '@pgq/worker'
import { catalog } from '../catalog.js'
import type { ShopDatabase } from '../database.js'
import type { NewOrder } from '../orders.js'
import { tasks } from '../tasks.js'
import { checkBooks, countShopJobs } from './books.js'
import { showProgress } from './progress.js'
import { Tally } from './tally.js'

export interface Shop {
  readonly db: ShopDatabase
  readonly worker: Worker
  readonly apiUrl: string
  /** Ends all of it early. */
  readonly signal: AbortSignal
}

const CUSTOMERS_AT_A_TIME = 16
const POLL_MS = 200
const STALLED_MS = 30_000
const HOUR_MS = 3_600_000

/** Places the orders over HTTP, waits for all that follows, and prints what happened. True when the books are right then. */
export async function runOnce(shop: Shop, orders: readonly NewOrder[]): Promise<boolean> {
  const startedAt = performance.now()
  const tally = new Tally(shop.worker)
  const jobs = orders.reduce((sum, order) => sum + jobsOf(order), 1)
  let placed = 0
  const stopProgress = showProgress([
    { name: 'orders', total: orders.length, done: () => placed },
    { name: 'jobs', total: jobs, done: () => tally.done },
  ])
  try {
    await placeAll(shop, orders, () => placed++)
    await runSchedule(shop.db, tasks.restockSold.name) // the night comes early
    await allDone(shop, tally, jobs)
    // Whatever still runs ends now, so that the tally is whole.
    await shop.worker.stop()
  } finally {
    stopProgress()
  }
  const seconds = (performance.now() - startedAt) / 1000
  console.log(`\n${tally.table(seconds)}\n`)
  console.log(`${orders.length} orders and ${tally.done} jobs in ${seconds.toFixed(1)} s\n`)
  return printBooks(shop.db)
}

/** Charge, receipt, mail, sale and restock; the follow-up of a parcel only waits. And one job orders again what was sold. */
const jobsOf = ({ sku }: NewOrder): number => (catalog[sku]!.isDownload ? 6 : 5)

async function placeAll(shop: Shop, orders: readonly NewOrder[], onPlaced: () => void): Promise<void> {
  // One iterator for all: each customer takes the next order that nobody has taken.
  const waiting = orders.values()
  const customer = async () => {
    for (const order of waiting) {
      await post(shop, '/orders', order)
      onPlaced()
    }
  }
  await Promise.all(Array.from({ length: CUSTOMERS_AT_A_TIME }, customer))
}

async function post({ apiUrl }: Shop, path: string, body: unknown): Promise<void> {
  const response = await fetch(apiUrl + path, { method: 'POST', body: JSON.stringify(body) })
  const answer = await response.text()
  if (!response.ok) throw new Error(`POST ${path}: ${response.status} ${answer}`)
}

/** Resolves when no job is left but those for another day. */
async function allDone({ db, signal }: Shop, tally: Tally, jobs: number): Promise<void> {
  let runs = -1
  let movedAt = performance.now()
  for (;;) {
    const isMoving = tally.runs !== runs
    // To count every job takes the time of a thousand: only when none may be left.
    if ((!isMoving || tally.done >= jobs) && (await isAllDone(db))) return
    if (isMoving) movedAt = performance.now()
    runs = tally.runs
    // The books will tell what is missing.
    if (performance.now() - movedAt > STALLED_MS) return console.error(`No job has run for ${STALLED_MS / 1000} s.`)
    await delay(POLL_MS, undefined, { signal })
  }
}

async function isAllDone(db: ShopDatabase): Promise<boolean> {
  const inAnHour = new Date(Date.now() + HOUR_MS)
  const counts = await countShopJobs(db)
  return counts.every(({ state, oldest }) => state === 'dead' || (state === 'scheduled' && oldest! > inAnHour))
}

async function printBooks(db: ShopDatabase): Promise<boolean> {
  const entries = await checkBooks(db)
  for (const { claim, wrong } of entries) console.log(wrong ? `WRONG  ${claim}: ${wrong}` : `ok     ${claim}`)
  const areRight = entries.every(({ wrong }) => !wrong)
  console.log(areRight ? '\nThe books are right.' : '\nThe books are wrong.')
  return areRight
}
