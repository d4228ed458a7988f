import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildClient } from '../client/build.mjs'
import { PERMISSIONS, type ServedDashboard, serveDashboard } from '../src/index.js'
import { BROWSER_MS, chromiumPath, openBrowser } from './browser.js'

const database = await testDatabase()
const browser = openBrowser()
let served: ServedDashboard

/** 999,995 jobs of three tasks, a fifth of them scheduled, 5 of a fourth in a queue of their own, and 100,000 dead letters. */
beforeAll(async () => {
  await buildClient()
  const pool = new pg.Pool({ connectionString: database.url })
  await pool.query(`
    insert into pgq.jobs (queue, task, priority, execute_at, ready_at, args)
    select
      case n % 10 when 1 then 'mail' else 'default' end, case n % 7 when 0 then 'charge-card' else 'send-receipt' end, n % 3,
      case n % 5 when 0 then now() + n * interval '1 s' end, now() - n * interval '1 ms', json_build_object('orderId', n)
    from generate_series(1, 999995) as n;
    insert into pgq.jobs (queue, task, args) select 'reports', 'build-report', '{"orderId":7}' from generate_series(1, 5);
    insert into pgq.dead_jobs (id, task, died_at, errors)
    select 10000000 + n, 'send-receipt', now() - n * interval '1 s', '[{"attempt": 1, "name": "SmtpError", "message": "no mailbox"}]'
    from generate_series(1, 100000) as n`)
  await pool.end()
  served = await serveDashboard({ connectionString: database.url, port: 0, allow: PERMISSIONS })
}, BROWSER_MS)
afterAll(() => served?.close())

/** A page, and what stands on it once it is there. */
const PAGES = [
  ['', 'oldest waits'],
  ['?queue=mail&task=send-receipt', 'of every task'],
  ['queues', 'reports'],
  ['jobs?state=ready', 'Next page'],
  ['jobs?state=ready&task=build-report', 'Cancel up to 10,000'],
  ['jobs?state=ready&queue=reports', 'Cancel all 5'],
  ['jobs?state=ready&task=charge-card', 'Cancel up to 10,000'],
  ['jobs?state=ready&queue=default', 'Cancel the first 10,000'],
  ['jobs?state=ready&text=nothing', 'None so far'],
  ['jobs?state=scheduled&task=build-report', 'None so far'],
  ['jobs?state=running&task=build-report', 'No running jobs'],
  ['jobs?state=dead&task=send-receipt', 'Redrive the first 10,000'],
  ['jobs/500000', 'orderId'],
  ['dead', 'no mailbox'],
  ['dead?task=charge-card', 'Redrive up to 10,000'],
  ['schedules', 'task.schedule('],
  ['workers', 'Jobs wait until one is started'],
  ['health', 'What to do'],
] as const

// Timings in a test are no benchmark (`npm run bench -- monitor` is one), and other tests run beside this one: what has to look at every
// row again and again takes longer.
const SOON_MS = 5_000

describe.skipIf(!chromiumPath)('in a browser, with 1,000,000 jobs', { timeout: BROWSER_MS }, () => {
  // Mutants: a count that reads to the end; a page that asks for one.
  test('every page is there soon, and every answer with it', async () => {
    const page = await browser.page(served.url)
    const slow: string[] = []
    const failed: string[] = []
    const asked = new Set<string>()
    page.on('requestfinished', async (request) => {
      const { pathname, search } = new URL(request.url())
      if (!pathname.startsWith('/api/')) return
      asked.add(pathname)
      const { requestStart, responseEnd } = request.timing()
      if (responseEnd - requestStart > SOON_MS) slow.push(`${pathname}${search}: ${responseEnd - requestStart} ms`)
      const response = await request.response()
      if (!response?.ok()) failed.push(`${pathname}${search}: ${response?.status()}`)
    })
    for (const [path, text] of PAGES) {
      await page.goto(`${served.url}/${path}`)
      await page.getByText(text).first().waitFor()
      await expect.poll(() => page.locator('.loading').count()).toBe(0)
    }
    expect({ slow, failed, faults: page.faults }).toEqual({ slow: [], failed: [], faults: [] })
    expect([...asked].sort()).toEqual(
      [
        'dead-letters',
        'health',
        'jobs',
        'jobs/500000',
        'jobs/count',
        'overview',
        'schedules',
        'session',
        'statistics',
        'tasks',
        'workers',
      ].map((name) => `/api/${name}`),
    )
  })
})
