import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { buildClient } from '../client/build.mjs'
import { PERMISSIONS, type ServedDashboard, serveDashboard } from '../src/index.js'
import { askAgain, BROWSER_MS, chromiumPath, look, openBrowser, picture, seriousFaults } from './browser.js'
import { stageShop } from './shop.js'

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url })
const browser = openBrowser()
let served: ServedDashboard
/** The same, with nothing to hide. */
let open: ServedDashboard
let shop: Awaited<ReturnType<typeof stageShop>>

beforeAll(async () => {
  await buildClient()
  shop = await stageShop(pool)
  const options = { executor: pool, port: 0, basePath: '/jobs', allow: PERMISSIONS }
  served = await serveDashboard({ ...options, redact: ['**.number'] })
  open = await serveDashboard(options)
})
// The tests take longer than a silent worker is believed to live.
beforeEach(() => pool.query('update pgq.workers set beat_at = now()'))
afterAll(async () => {
  await served?.close()
  await open?.close()
  await pool.end()
})

const PAGES = [
  ['overview', () => '', 'Tasks of the last hour'],
  ['queues', () => '/queues', 'Pause'],
  ['jobs', () => '/jobs?state=ready', 'send-receipt'],
  ['running', () => '/jobs?state=running', 'web-7f9c · 214'],
  ['scheduled', () => '/jobs?state=scheduled', 'PaymentError: card 4242'],
  ['parked', () => '/jobs?state=parked', 'warehouse'],
  ['parked-job', () => `/jobs/${shop.parked[0]}`, 'warehouse · at most 2 run at a time'],
  ['job', () => `/jobs/${shop.retrying[0]}`, 'The bank did not answer'],
  ['of-schedule', () => `/jobs/${shop.report}`, 'daily-report'],
  ['dead', () => '/dead', '550 mailbox'],
  ['schedules', () => '/schedules', 'every 5 minutes'],
  ['schedule', () => '/schedules?name=daily-report', 'Wed, '],
  ['workers', () => '/workers', 'build-report'],
  ['health', () => '/health', 'What to do'],
] as const

describe.skipIf(!chromiumPath)('in a browser', { timeout: BROWSER_MS }, () => {
  test.each(PAGES)('%s: in light, in dark, on a phone, and for axe', async (name, path, text) => {
    const page = await browser.page(served.url + path())
    await page.getByText(text).first().waitFor()
    await expect.poll(() => page.locator('.loading').count()).toBe(0)
    if (name === 'overview') await look(page, 15_000)
    await picture(page, `${name}-light`)
    expect(await seriousFaults(page)).toEqual([])

    await page.emulateMedia({ colorScheme: 'dark' })
    await picture(page, `${name}-dark`)
    expect(await seriousFaults(page)).toEqual([])

    await page.setViewportSize({ width: 390, height: 844 })
    await picture(page, `${name}-phone`)
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    // Mutant: a navigation that scrolls aside; nobody sees that something is wrong with the queue's health.
    expect(
      await page.evaluate(
        `(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.querySelector('nav'))`,
      ),
    ).toBe(true)
    expect(page.faults).toEqual([])
  })

  test('the charts tell their newest values in words', async () => {
    const page = await browser.page(served.url)
    const chart = page.getByRole('figure', { name: 'Finished per minute' })
    await chart.waitFor()
    await page.locator('canvas').nth(3).waitFor()
    expect(await chart.getByRole('listitem').allInnerTexts()).toEqual([
      expect.stringMatching(/^completed [\d,.]+$/),
      expect.stringMatching(/^retried [\d,.]+$/),
      expect.stringMatching(/^dead [\d,.]+$/),
    ])
    expect(await page.locator('canvas').count()).toBe(4)
  })

  // Mutant: the minute that still fills as if it were over.
  test('what finished per minute is of the last minute that is over', async () => {
    const page = await browser.page(`${served.url}/?queue=steady`)
    // Again where a minute ended in between.
    const completed = async () => {
      await pool.query(`delete from pgq.job_stats where queue = 'steady'`)
      await pool.query(
        `insert into pgq.job_stats (queue, task, completed, begun_at)
         select 'steady', 'tick', case n when 0 then 6 else 600 end, date_trunc('minute', now()) - n * interval '1 min' from generate_series(0, 9) as n`,
      )
      await page.reload()
      return page.getByRole('figure', { name: 'Finished per minute' }).getByRole('listitem').first().textContent()
    }
    await expect.poll(completed, { timeout: BROWSER_MS / 2 }).toBe('completed 600')
    await pool.query(`delete from pgq.job_stats where queue = 'steady'`)
  })

  test('parked jobs are counted as those, and none is for running now', async () => {
    const page = await browser.page(open.url)
    await expect.poll(() => page.locator('.tile-parked').textContent()).toBe('Parked4wait for others of their key')
    await page.locator('.tile-parked').click()
    await page.getByRole('link', { name: shop.parked[0]!, exact: true }).click()
    await page.getByText('Parked: waits for others of its concurrency key').waitFor()
    await page.getByRole('button', { name: 'Cancel job' }).waitFor()
    await page.getByLabel('Priority; higher runs first').waitFor()
    expect(await page.getByRole('button', { name: 'Run now' }).count()).toBe(0)
    await page.goto(`${open.url}/queues`)
    const cells = page.getByRole('row', { name: 'reports' }).getByRole('cell')
    await expect
      .poll(() => cells.allTextContents())
      .toEqual(['reports ', '0', '–', '1', '0', '–', '4', '0', '1', 'Pause'])
  })

  // Mutant: instants compared as they are written.
  test('the next scheduled job is the one that is due next', async () => {
    await pool.query(`insert into pgq.jobs (queue, task, execute_at) values ('far', 'x', '12345-01-01')`)
    const page = await browser.page(served.url)
    await expect
      .poll(() => page.locator('.tile-scheduled .tile-note').textContent())
      .toMatch(/^next (is due|in \d+ (s|min)\b.*)$/)
    await pool.query(`delete from pgq.jobs where queue = 'far'`)
  })

  test.each([390, 1280])('a long name of a queue leaves the page as wide as a screen of %d px', async (width) => {
    const page = await browser.page(`${served.url}/?queue=${'q'.repeat(190)}`, { viewport: { width, height: 860 } })
    await page.getByLabel('Queue shown').waitFor()
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
  })

  // Mutants: names that take what room they want; a button that scrolls aside with the numbers.
  test('beside a long name the buttons are on the screen, and the name is told whole', async () => {
    const name = 'q'.repeat(150)
    await pool.query(`insert into pgq.jobs (queue, task) values ($1, $1)`, [name])
    const page = await browser.page(`${open.url}/queues`)
    await page.getByTitle(name).waitFor()
    const fits = `(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.querySelector('.table'))`
    expect(await page.evaluate(fits)).toBe(true)
    await page.setViewportSize({ width: 390, height: 844 })
    expect(await page.evaluate(fits)).toBe(false)
    const button = await page.getByRole('row', { name }).getByRole('button', { name: 'Pause' }).boundingBox()
    expect(button!.x + button!.width).toBeLessThan(390)
    await page.setViewportSize({ width: 1280, height: 860 })
    await page.goto(`${served.url}/jobs?queue=${name}`)
    await expect.poll(() => page.getByTitle(name).count()).toBe(2)
    expect(await page.evaluate(fits)).toBe(true)
    await page.goto(served.url)
    await page.locator('option', { hasText: name }).waitFor({ state: 'attached' })
    const rows = `new Set([...document.querySelectorAll('.bar .select')].map((one) => one.getBoundingClientRect().top)).size`
    expect(await page.evaluate(rows)).toBe(1)
    await pool.query('delete from pgq.jobs where queue = $1', [name])
  })

  // Mutant: an error that takes what room it wants.
  test.each([390, 1280])('long texts of a schedule leave the page as wide as a screen of %d px', async (width) => {
    const long = 'x'.repeat(190)
    await pool.query(
      `insert into pgq.schedules (name, queue, task, cron, time_zone, next_at, failed_at, error) values ($1, $1, $1, $1, $1, now(), now(), $1)`,
      [long],
    )
    const page = await browser.page(`${served.url}/schedules`, { viewport: { width, height: 860 } })
    const isAsWide = () => page.evaluate('document.documentElement.scrollWidth <= innerWidth')
    await page.getByRole('link', { name: long }).waitFor()
    expect(await isAsWide()).toBe(true)
    const button = await page
      .getByRole('row', { name: long })
      .first()
      .getByRole('button', { name: 'Pause' })
      .boundingBox()
    expect(button!.x + button!.width).toBeLessThan(width)
    await page.getByRole('link', { name: long }).click()
    await page.getByText('Workers try again').waitFor()
    expect(await isAsWide()).toBe(true)
    await pool.query('delete from pgq.schedules where name = $1', [long])
  })

  // Mutants: a key as long as it likes; a link to the schedule of another name.
  test.each([390, 1280])('what a job carries leaves the page as wide as a screen of %d px', async (width) => {
    const long = 'x'.repeat(190)
    const meta = { key: long, schedule: long, slot: long, [long]: long }
    await pool.query(`insert into pgq.dead_jobs (id, task, queue, meta) values (4711, 'long', 'long', $1)`, [meta])
    const page = await browser.page(`${served.url}/jobs/4711`, { viewport: { width, height: 860 } })
    await expect.poll(() => page.getByRole('link', { name: long }).count()).toBe(2)
    expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth')).toBe(true)
    await pool.query('delete from pgq.dead_jobs where id = 4711')
  })

  test('a job leads to its schedule, and to the jobs of its key', async () => {
    const page = await browser.page(`${served.url}/jobs/${shop.report}`, { timezoneId: 'Europe/Berlin' })
    await page.getByText('2 Mar 2026, 06:00:00').waitFor()
    await page.getByText('"traceparent": "00-0af76519').waitFor()
    await page.getByRole('link', { name: 'daily-report' }).click()
    await page.getByRole('heading', { name: 'Next slots' }).waitFor()
    await page.goto(`${served.url}/jobs/${shop.retrying[1]}`)
    await page.getByRole('link', { name: 'renewal 2' }).click()
    const rows = page.locator('tbody tr')
    await expect.poll(() => rows.count()).toBe(1)
    await page.getByRole('link', { name: shop.retrying[1]! }).waitFor()
    // Mutant: a key that goes on to count where its task does not.
    await page.getByLabel('Key').fill('renewal 3')
    await page.getByRole('link', { name: shop.retrying[2]! }).waitFor()
    await page.getByLabel('Task').fill('')
    await page.getByText('sync-stock').first().waitFor()
    expect(await page.getByLabel('Key').count()).toBe(0)
    expect(page.url()).not.toContain('key=')
  })

  // Mutants: a choice that the charts do not hear of; one that the address does not keep.
  test('the charts and the tasks are of the queue and the task that one chooses', async () => {
    const page = await browser.page(served.url)
    const runTimes = () => page.getByRole('figure', { name: 'Time to run' }).getByRole('list').textContent()
    const rows = page.getByRole('region', { name: 'Tasks' }).locator('tbody tr')
    await rows.nth(4).waitFor()
    const ofAll = await runTimes()
    await page.getByLabel('Queue shown').selectOption('default')
    await expect.poll(() => rows.count()).toBe(4)
    await expect.poll(runTimes).not.toBe(ofAll)
    const ofQueue = await runTimes()
    await page.getByLabel('Task shown').selectOption('charge-card')
    await expect.poll(() => rows.count()).toBe(1)
    await expect.poll(runTimes).not.toBe(ofQueue)
    expect(page.url()).toContain('queue=default&task=charge-card')
    await page.getByLabel('Queue shown').selectOption('mail')
    await page.getByText('Nothing ended in this time').waitFor()
  })

  // Mutant: actions over all that fit the other filters, while a text narrows what is shown.
  test('finds jobs by a text in their args, where nothing is hidden', async () => {
    const page = await browser.page(`${open.url}/jobs?task=send-receipt`)
    await page.getByText('Cancel all 64').waitFor()
    await page.getByLabel('Text in args').fill('"ORDERID":40063')
    await expect.poll(() => page.locator('tbody tr').count()).toBe(1)
    expect(await page.getByText('Cancel all').count()).toBe(0)
    const hidden = await browser.page(`${served.url}/jobs`)
    await hidden.getByText('Next page').waitFor()
    expect(await hidden.getByLabel('Text in args').count()).toBe(0)
  })

  test('filters and pages through the jobs, and finds one by its id', async () => {
    const page = await browser.page(`${served.url}/jobs`)
    const rows = page.locator('tbody tr')
    await page.getByLabel('Queue').fill('mail')
    await page.waitForURL(/queue=mail/)
    await expect.poll(() => page.getByRole('cell', { name: 'mail', exact: true }).count()).toBe(50)
    expect(await rows.count()).toBe(50)
    await page.getByText('Next page').click()
    await expect.poll(() => rows.count()).toBe(14)
    await page.getByText('First page').click()
    await expect.poll(() => rows.count()).toBe(50)

    await page.getByLabel('Find a job by its id').fill(shop.dead[0]!)
    await page.keyboard.press('Enter')
    await page.getByText('Dead: exhausted').waitFor()
    expect(page.url()).toBe(`${served.url}/jobs/${shop.dead[0]}`)
  })

  test('an id beyond 2^53 stays what it is', async () => {
    const id = '9007199254740993'
    await pool.query(`insert into pgq.dead_jobs (id, task, queue) values ($1, 'huge', 'huge')`, [id])
    const page = await browser.page(`${served.url}/jobs?state=dead&queue=huge`)
    await page.getByRole('link', { name: id }).click()
    await page.getByText('Dead: failed').waitFor()
    expect(page.url()).toContain(id)
    await pool.query('delete from pgq.dead_jobs where id = $1', [id])
  })

  // Mutant: findings known by their messages, which hold ages.
  test('what a finding rests on stays open while ages grow', async () => {
    const wait = (minutes: number) =>
      pool.query(`update pgq.jobs set ready_at = now() - $1 * interval '1 min' where queue = 'images'`, [minutes])
    await wait(20)
    const page = await browser.page(`${served.url}/health`)
    const finding = page.getByRole('article').filter({ hasText: 'backlog-old' })
    await finding.getByText('What this rests on').click()
    await finding.getByText('ready for up to 20 min').waitFor()
    await wait(30)
    await askAgain(page)
    await finding.getByText('ready for up to 30 min').waitFor()
    expect(await finding.locator('details[open]').count()).toBe(1)
    await wait(0)
  })

  // Mutants: the instants of one clock under the name of the other; the zone of the server.
  test('the next slots of a schedule, by its clock and by the one of who looks', async () => {
    // A slot before the clocks in Berlin are put back, and four after; those in New York are a week later.
    await pool.query(`update pgq.schedules set next_at = '2030-10-25T04:00Z' where name = 'daily-report'`)
    const slots = async (name: string, timezoneId: string) => {
      const page = await browser.page(`${served.url}/schedules?name=${name}`, { timezoneId })
      const table = page.getByRole('region', { name: 'Next slots' })
      await table.waitFor()
      return [
        ...(await table.locator('th').allInnerTexts()),
        ...(await table.locator('td').allInnerTexts()).filter((text) => text.includes(':')),
      ]
    }
    expect((await slots('daily-report', 'America/New_York')).slice(0, 7)).toEqual([
      ...['Europe/Berlin', 'Here: America/New_York', 'From now'],
      ...['Fri, 25 Oct 2030, 06:00:00', 'Fri, 25 Oct 2030, 00:00:00'],
      ...['Mon, 28 Oct 2030, 06:00:00', 'Mon, 28 Oct 2030, 01:00:00'],
    ])
    // Not twice, where both are one.
    expect((await slots('daily-report', 'Europe/Berlin')).slice(0, 3)).toEqual([
      ...['Here: Europe/Berlin', 'From now', 'Fri, 25 Oct 2030, 06:00:00'],
    ])
    // An interval has no clock of its own.
    expect((await slots('sync-stock', 'Asia/Tokyo')).slice(0, 2)).toEqual(['Here: Asia/Tokyo', 'From now'])
  })

  // Mutant: an unknown zone that ends the drawing of the page.
  test('a time zone that the browser does not know is left out', async () => {
    const page = await browser.page(`${served.url}/schedules`)
    await page.route('**/api/schedule?*', async (route) => {
      const response = await route.fetch()
      const { schedule } = (await response.json()) as { schedule: object }
      await route.fulfill({ response, json: { schedule: { ...schedule, timeZone: 'Mars/Base' } } })
    })
    await page.getByRole('link', { name: 'daily-report' }).click()
    const table = page.getByRole('region', { name: 'Next slots' })
    await table.getByText('From now').waitFor()
    expect((await table.locator('th').allTextContents())[0]).toMatch(/^Here: /)
    expect(await table.locator('tbody tr').count()).toBe(5)
    expect(page.faults).toEqual([])
  })

  test('a schedule that failed says why, in the list and by itself', async () => {
    const page = await browser.page(`${served.url}/schedules`)
    const row = page.getByRole('row', { name: 'charge-renewals' })
    await row.getByText('failed', { exact: true }).waitFor()
    await page.getByRole('row', { name: 'use a whole number from 1.' }).waitFor()
    await row.getByRole('link', { name: 'charge-renewals' }).click()
    await page.getByText('Workers try again each minute.').waitFor()
    await page.getByText('use a whole number from 1.').waitFor()
  })

  test('its args are shown without what is hidden', async () => {
    const page = await browser.page(`${served.url}/schedules?name=daily-report`)
    await page.getByText('"brand": "visa"').waitFor()
    expect(await page.content()).not.toContain('4242')
    await page.goto(`${open.url}/schedules?name=daily-report`)
    await page.getByText('"number": "4242"').waitFor()
  })

  test('the keyboard is enough: to a page, to a filter, through a question and out of it', async () => {
    const page = await browser.page(served.url)
    await page.getByRole('heading', { name: 'Overview' }).waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('q')
    await page.getByRole('heading', { name: 'Queues' }).waitFor()
    const pause = page.getByRole('button', { name: 'Pause' }).first()
    await pause.focus()
    await page.keyboard.press('Enter')
    await page.getByRole('dialog').waitFor()
    await page.keyboard.press('Escape')
    await page.getByRole('dialog').waitFor({ state: 'detached' })
    expect(await pause.evaluate('document.activeElement.textContent')).toBe('Pause')
    await page.keyboard.press('g')
    await page.keyboard.press('s')
    await page.getByRole('heading', { name: 'Schedules' }).waitFor()
    await page.getByRole('link', { name: 'daily-report' }).focus()
    await page.keyboard.press('Enter')
    await page.getByRole('heading', { name: 'daily-report' }).waitFor()
    await page.keyboard.press('g')
    await page.keyboard.press('j')
    await page.getByRole('heading', { name: 'Jobs' }).waitFor()
    await page.keyboard.press('/')
    expect(await page.evaluate('document.activeElement.tagName')).toBe('INPUT')
  })

  // Mutant: no look at document.hidden.
  test('a page that nobody sees asks nothing; seen again, it asks at once', async () => {
    const page = await browser.page(`${served.url}/workers`)
    await page.getByText('web-7f9c').waitFor()
    const hide = (isHidden: boolean) =>
      page.evaluate(
        `Object.defineProperty(document, 'hidden', { value: ${isHidden}, configurable: true }); document.dispatchEvent(new Event('visibilitychange'))`,
      )
    await page.waitForLoadState('networkidle')
    await page.clock.install()
    let asked = 0
    page.on('request', () => asked++)
    await hide(true)
    await page.clock.runFor(60_000)
    expect(asked).toBe(0)
    await hide(false)
    await expect.poll(() => asked).toBeGreaterThan(0)
  })

  test('says so while the database is away, and keeps what it knew', async () => {
    const page = await browser.page(`${served.url}/workers`)
    await page.getByText('web-7f9c').waitFor()
    await page.route('**/api/**', (route) =>
      route.fulfill({ status: 503, contentType: 'application/json', body: '{"error":"The database did not answer."}' }),
    )
    await page.locator('.live-lost').getByText('The database did not answer.').waitFor()
    expect(await page.getByText('web-7f9c').count()).toBe(1)
  })
})
