import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildClient } from '../client/build.mjs'
import { PERMISSIONS, type ServedDashboard, serveDashboard } from '../src/index.js'
import { chromiumPath, openBrowser, picture } from './browser.js'
import { stageShop } from './shop.js'

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url })
const browser = openBrowser()
let served: ServedDashboard
let shop: Awaited<ReturnType<typeof stageShop>>

beforeAll(async () => {
  await buildClient()
  shop = await stageShop(pool)
  served = await serveDashboard({ executor: pool, port: 0, allow: PERMISSIONS, redact: ['**.number'] })
})
afterAll(async () => {
  await served?.close()
  await pool.end()
})

const PAGES = [
  ['overview', '', 'Finished per minute'],
  ['queues', '/queues', 'mail'],
  ['jobs', '/jobs?state=ready', 'send-receipt'],
  ['jobs-scheduled', '/jobs?state=scheduled', 'PaymentError'],
  ['dead', '/dead', 'SmtpError'],
  ['workers', '/workers', 'web-7f9c'],
] as const

describe.skipIf(!chromiumPath)('in a browser', () => {
  test.each(PAGES)('%s is shown, in light, in dark and on a phone', async (name, path, text) => {
    for (const [kind, options] of [
      ['light', {}],
      ['dark', { colorScheme: 'dark' }],
      ['phone', { viewport: { width: 390, height: 844 } }],
    ] as const) {
      const page = await browser.page(served.url + path, options)
      await page.getByText(text).first().waitFor()
      await page.waitForLoadState('networkidle')
      await picture(page, `${name}-${kind}`)
      const { scrollWidth, clientWidth } = await page.evaluate(() => {
        const { scrollWidth, clientWidth } = document.documentElement
        return { scrollWidth, clientWidth }
      })
      expect(scrollWidth).toBeLessThanOrEqual(clientWidth)
      expect(page.faults).toEqual([])
    }
  })

  test('job', async () => {
    const page = await browser.page(`${served.url}/jobs/${shop.retrying[0]}`)
    await page.getByText('Timeline').waitFor()
    await picture(page, 'job-light')
    expect(page.faults).toEqual([])
  })
})
