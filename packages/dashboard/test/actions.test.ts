import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { buildClient } from '../client/build.mjs'
import { type AuditEvent, PERMISSIONS, type ServedDashboard, serveDashboard } from '../src/index.js'
import { askAgain, BROWSER_MS, chromiumPath, openBrowser, seriousFaults, type WatchedPage } from './browser.js'
import { bury, stageShop } from './shop.js'

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url })
const browser = openBrowser()
const events: AuditEvent[] = []
let served: ServedDashboard
let looking: ServedDashboard
let shop: Awaited<ReturnType<typeof stageShop>>

beforeAll(async () => {
  await buildClient()
  const onAudit = (event: AuditEvent) => void events.push(event)
  served = await serveDashboard({ executor: pool, port: 0, allow: PERMISSIONS, onAudit })
  looking = await serveDashboard({ executor: pool, port: 0 })
})
afterAll(async () => {
  await served?.close()
  await looking?.close()
  await pool.end()
})
beforeEach(async () => {
  await database.truncate()
  shop = await stageShop(pool)
  events.length = 0
})

const press = (page: WatchedPage, name: string) => page.getByRole('button', { name, exact: true }).first().click()
const confirm = (page: WatchedPage, name: string) =>
  page.getByRole('dialog').getByRole('button', { name, exact: true }).click()

const stateOf = async (id: string): Promise<string | undefined> =>
  (await pool.query('select state from pgq.job_states where id = $1', [id])).rows[0]?.state

// Each presses what a person would, looks into the database, and at what was audited.
describe.skipIf(!chromiumPath)('in a browser', { timeout: BROWSER_MS }, () => {
  test('run now', async () => {
    const [id] = shop.retrying as [string]
    const page = await browser.page(`${served.url}/jobs/${id}`)
    await press(page, 'Run now')
    await page.getByText('Ready: waits for a worker').waitFor()
    expect(await stateOf(id)).toBe('ready')
    expect(events).toMatchObject([
      { user: 'anybody', action: 'run-now', target: { ids: [id] }, outcome: 'done', jobs: 1 },
    ])
    expect(page.faults).toEqual([])
  })

  test('cancel', async () => {
    const [id] = shop.ready as [string]
    const page = await browser.page(`${served.url}/jobs/${id}`)
    await press(page, 'Cancel job')
    await confirm(page, 'Cancel job')
    await page.getByText('Dead: cancelled').waitFor()
    expect(await stateOf(id)).toBe('dead')
    expect(events).toMatchObject([{ action: 'cancel', outcome: 'done', jobs: 1 }])
  })

  test('cancel what runs: a request to its worker', async () => {
    const [id] = shop.running as [string]
    const page = await browser.page(`${served.url}/jobs/${id}`)
    await press(page, 'Cancel job')
    await confirm(page, 'Cancel job')
    await page.getByText('Its handler was asked to stop.').waitFor()
    expect(events).toMatchObject([{ action: 'cancel', outcome: 'done', jobs: 1 }])
  })

  test('delete what waits, and what is dead', async () => {
    for (const id of [shop.scheduled[0]!, shop.dead[0]!]) {
      const page = await browser.page(`${served.url}/jobs/${id}`)
      await press(page, 'Delete')
      await confirm(page, 'Delete')
      await page.getByText('Not there', { exact: true }).waitFor()
      expect(await stateOf(id)).toBeUndefined()
    }
    expect(events.map(({ action }) => action)).toEqual(['delete-waiting', 'delete-dead'])
  })

  test('a question that is answered with no changes nothing', async () => {
    const [id] = shop.dead as [string]
    const page = await browser.page(`${served.url}/jobs/${id}`)
    await press(page, 'Delete')
    await confirm(page, 'Keep as it is')
    expect(await stateOf(id)).toBe('dead')
    expect(events).toEqual([])
  })

  test('set the priority', async () => {
    const [id] = shop.ready as [string]
    const page = await browser.page(`${served.url}/jobs/${id}`)
    await page.getByLabel('Priority; higher runs first').fill('7')
    await press(page, 'Set')
    await page.getByText('Its priority is 7 now.').waitFor()
    expect((await pool.query('select priority from pgq.jobs where id = $1', [id])).rows).toEqual([{ priority: 7 }])
    expect(events).toMatchObject([{ action: 'set-priority', target: { ids: [id], priority: 7 }, jobs: 1 }])
  })

  test('pause and resume a queue', async () => {
    const page = await browser.page(`${served.url}/queues`)
    const row = page.getByRole('row', { name: 'mail' })
    await row.getByRole('button', { name: 'Pause' }).click()
    await confirm(page, 'Pause')
    await row.getByText('paused').waitFor()
    await row.getByRole('button', { name: 'Resume' }).click()
    await row.getByRole('button', { name: 'Pause' }).waitFor()
    expect(events.map(({ action, jobs }) => [action, jobs])).toEqual([
      ['pause-queue', 1],
      ['resume-queue', 1],
    ])
  })

  // Mutant: no question after an action while an older one is under way: the page shows for seconds what was.
  test('what was changed is asked for at once, also behind an older question', async () => {
    const page = await browser.page(`${served.url}/queues`)
    const row = page.getByRole('row', { name: 'mail' })
    await row.waitFor()
    // From here on nothing is asked because time has passed.
    await page.evaluate(
      `const real = setTimeout; window.setTimeout = (act, ms, ...args) => (ms >= 3000 ? 0 : real(act, ms, ...args))`,
    )
    let answer = () => {}
    const answered = new Promise<void>((resolve) => {
      answer = resolve
    })
    let asked = 0
    await page.route('**/api/overview', async (route) => {
      asked += 1
      const response = await route.fetch()
      if (asked === 1) await answered
      await route.fulfill({ response })
    })
    await askAgain(page)
    await expect.poll(() => asked).toBe(1)
    await row.getByRole('button', { name: 'Pause' }).click()
    await confirm(page, 'Pause')
    await page.getByText('“mail” is paused.').waitFor()
    answer()
    await row.getByText('paused').waitFor()
  })

  // Mutant: what a name holds taken for the place of a number: “1 job” is paused.
  test('a queue is told by its name, whatever that is', async () => {
    await pool.query(`insert into pgq.jobs (queue, task) values ('{jobs}', 'x')`)
    const page = await browser.page(`${served.url}/queues`)
    await page.getByRole('row', { name: '{jobs}' }).getByRole('button', { name: 'Pause' }).click()
    await confirm(page, 'Pause')
    await page.getByText('“{jobs}” is paused.').waitFor()
  })

  // Mutants: a question on one line, as the cell of its button is; a name that turns the words after it around.
  test('a question is read whole, whatever the queue is called', async () => {
    const name = `${'q'.repeat(150)}\u202e`
    await pool.query(`insert into pgq.jobs (queue, task) values ($1, 'x')`, [name])
    const page = await browser.page(`${served.url}/queues`)
    for (const queue of ['mail', name]) {
      await page.getByRole('row', { name: queue }).getByRole('button', { name: 'Pause' }).click()
      const dialog = page.getByRole('dialog')
      await dialog.waitFor()
      expect(
        await page.evaluate(
          `(({ scrollWidth, clientWidth }) => scrollWidth <= clientWidth)(document.querySelector('dialog'))`,
        ),
      ).toBe(true)
      expect(await dialog.getByRole('paragraph').textContent()).toBe(
        `Pause the queue “${queue.replace('\u202e', '\\u202e')}” for all workers? What runs goes on.`,
      )
      await confirm(page, 'Keep as it is')
    }
  })

  // Mutants: no link; one that is gone before the keyboard has come to it.
  test('run a schedule now, with the keyboard, and follow it to its job', async () => {
    const page = await browser.page(`${served.url}/schedules`)
    await page.clock.install()
    const row = page.getByRole('row', { name: 'sync-stock' })
    await row.getByRole('button', { name: 'Run now' }).focus()
    await page.keyboard.press('Enter')
    const link = page.getByRole('status').getByRole('link', { name: /^Job \d+$/ })
    await link.waitFor()
    const id = (await link.textContent())!.slice(4)
    expect(
      (await pool.query(`select task, meta ->> 'schedule' as schedule from pgq.jobs where id = $1`, [id])).rows,
    ).toEqual([{ task: 'sync-stock', schedule: 'sync-stock' }])
    expect(events).toMatchObject([
      { action: 'run-schedule', target: { schedule: 'sync-stock' }, outcome: 'done', jobs: 1, jobId: id },
    ])
    expect(await seriousFaults(page)).toEqual([])
    await page.clock.fastForward(15_000)
    await link.focus()
    await page.keyboard.press('Enter')
    await page.getByText('Ready: waits for a worker').waitFor()
    expect(page.url()).toBe(`${served.url}/jobs/${id}`)
    expect(page.faults).toEqual([])
  })

  test('run a schedule that is paused, and one that somebody has just removed', async () => {
    const page = await browser.page(`${served.url}/schedules?name=send-newsletter`)
    await page.getByText('Next slots, if it were resumed now').waitFor()
    await press(page, 'Run now')
    await page.getByRole('link', { name: /^Job \d+$/ }).waitFor()
    // What the page knows stays while it asks again.
    await page.route('**/api/schedule?*', (route) => route.abort())
    await pool.query('delete from pgq.schedules')
    await press(page, 'Run now')
    await page.getByText('Nothing to do: somebody, or a worker, was faster.').waitFor()
    expect(events.map(({ outcome, jobs, jobId }) => [outcome, jobs, typeof jobId])).toEqual([
      ['done', 1, 'string'],
      ['done', 0, 'undefined'],
    ])
  })

  test('pause and resume a schedule', async () => {
    const page = await browser.page(`${served.url}/schedules`)
    const row = page.getByRole('row', { name: 'daily-report' })
    await row.getByRole('button', { name: 'Pause' }).click()
    await confirm(page, 'Keep as it is')
    await row.getByRole('button', { name: 'Pause' }).click()
    await confirm(page, 'Pause')
    await row.getByText('paused', { exact: true }).waitFor()
    await row.getByRole('button', { name: 'Resume' }).click()
    await row.getByText('on', { exact: true }).waitFor()
    expect(events.map(({ action, target, jobs }) => [action, target, jobs])).toEqual([
      ['pause-schedule', { schedule: 'daily-report' }, 1],
      ['resume-schedule', { schedule: 'daily-report' }, 1],
    ])
  })

  test('a schedule that cannot be resumed stays paused, and says why', async () => {
    await pool.query(`update pgq.schedules set cron = 'often' where name = 'send-newsletter'`)
    const page = await browser.page(`${served.url}/schedules`)
    await page.getByRole('row', { name: 'send-newsletter' }).getByRole('button', { name: 'Resume' }).click()
    await page.getByText('cron "often" is not allowed').waitFor()
    expect(events).toMatchObject([{ action: 'resume-schedule', outcome: 'failed', jobs: 0 }])
  })

  test('remove a schedule, after a question', async () => {
    const names = async () =>
      (await pool.query('select name from pgq.schedules order by name')).rows.map(({ name }) => name)
    const page = await browser.page(`${served.url}/schedules?name=daily-report`)
    await press(page, 'Remove')
    await confirm(page, 'Keep as it is')
    expect(await names()).toHaveLength(4)
    await press(page, 'Remove')
    await page.getByText('Remove the schedule “daily-report”? Its jobs stay.').waitFor()
    await confirm(page, 'Remove')
    await page.getByText('There is no schedule of this name').waitFor()
    expect(await names()).toEqual(['charge-renewals', 'send-newsletter', 'sync-stock'])
    expect(events).toMatchObject([
      { action: 'remove-schedule', target: { schedule: 'daily-report' }, outcome: 'done', jobs: 1 },
    ])
  })

  // Mutant: the ids of the whole page for those of the group.
  test('redrive all that died of one error', async () => {
    const page = await browser.page(`${served.url}/dead`)
    const group = page.getByRole('article').filter({ hasText: 'SmtpError' })
    await group.getByRole('button', { name: 'Redrive' }).click()
    await page.getByText('Put 37 jobs of “send-receipt” back into mail?').waitFor()
    await confirm(page, 'Redrive')
    await page.getByText('Redrove 37 jobs.').waitFor()
    await group.waitFor({ state: 'detached' })
    const { rows } = await pool.query(
      `select task, count(*)::integer as jobs from pgq.dead_jobs group by task order by 1`,
    )
    expect(rows).toEqual([
      { task: 'charge-card', jobs: 12 },
      { task: 'resize-image', jobs: 3 },
    ])
  })

  // Mutants: groups known by their newest letter; a dialog that is not asked again where its group was moved.
  test('a question and open details stay while dead letters arrive and groups change places', async () => {
    const page = await browser.page(`${served.url}/dead`)
    // Not every browser has it yet.
    await page.evaluate('delete Element.prototype.moveBefore')
    const group = page.getByRole('article').filter({ hasText: 'PaymentError' })
    await group.getByText('Which jobs').click()
    await group.getByRole('button', { name: 'Delete' }).click()
    const isAskedAbout = async (jobs: number) => {
      await askAgain(page)
      await page.getByText(`Delete ${jobs} jobs of “charge-card” for good?`).waitFor()
      await expect.poll(() => page.locator('dialog:modal').count()).toBe(1)
      expect(await group.locator('details[open]').count()).toBe(1)
    }
    await isAskedAbout(12)
    // The second group becomes the first.
    await bury(pool, [
      ['charge-card', 'default', 'failed', 'PaymentError', (n) => `order ${n} was refunded already`, 40],
    ])
    await isAskedAbout(52)
    await confirm(page, 'Delete')
    await page.getByText('Deleted 52 jobs.').waitFor()
  })

  test('delete all that fit a filter, after a preview', async () => {
    const page = await browser.page(`${served.url}/dead?task=charge-card`)
    await press(page, 'Delete all 12')
    await confirm(page, 'Delete all 12')
    await page.getByText('Deleted 12 jobs.').waitFor()
    expect(events).toMatchObject([{ action: 'delete-dead', target: { task: 'charge-card' }, jobs: 12 }])
    expect((await pool.query('select count(*)::integer as jobs from pgq.dead_jobs')).rows).toEqual([{ jobs: 40 }])
  })

  // Mutants: the jobs of the page alone; those of another state; a preview of another number.
  test('run now, cancel, delete, and set the priority of all that fit a filter, after a preview', async () => {
    const jobs = async () =>
      (
        await pool.query(`select state || ' ' || task as job, count(*)::integer as jobs, max(priority) as priority
          from pgq.job_states where queue in ('mail', 'default') and state in ('ready', 'scheduled') group by 1 order by 1`)
      ).rows.map(({ job, jobs, priority }) => `${job} ${jobs} ${priority}`)
    const ready = await browser.page(`${served.url}/jobs?state=ready&task=send-receipt`)
    await ready.getByLabel('New priority of all that fit').fill('9')
    await press(ready, 'Set for all 64')
    await ready.getByText('Give all 64 that fit this filter the priority 9?').waitFor()
    await confirm(ready, 'Set for all 64')
    await ready.getByText('64 jobs changed to priority 9.').waitFor()
    expect(await jobs()).toEqual(['ready send-receipt 64 9', 'scheduled charge-card 3 0', 'scheduled sync-stock 9 0'])

    const scheduled = await browser.page(`${served.url}/jobs?state=scheduled&task=charge-card`)
    await press(scheduled, 'Run all 3 now')
    await confirm(scheduled, 'Run all 3 now')
    await scheduled.getByText('Made 3 jobs ready.').waitFor()
    expect(await jobs()).toEqual(['ready charge-card 3 0', 'ready send-receipt 64 9', 'scheduled sync-stock 9 0'])

    await ready.goto(`${served.url}/jobs?state=ready&queue=default`)
    await press(ready, 'Cancel all 3')
    await confirm(ready, 'Cancel all 3')
    await ready.getByText('Cancelled 3 jobs.').waitFor()
    await ready.goto(`${served.url}/jobs?state=scheduled&queue=default`)
    await press(ready, 'Delete all 9')
    await confirm(ready, 'Delete all 9')
    await ready.getByText('Deleted 9 jobs.').waitFor()
    expect(await jobs()).toEqual(['ready send-receipt 64 9'])
    expect(events.map(({ action, jobs }) => [action, jobs])).toEqual([
      ['set-priority', 64],
      ['run-now', 3],
      ['cancel', 3],
      ['delete-waiting', 9],
    ])
  })

  // Mutants: a key that is passed over on the way to the preview, or to the action.
  test('cancel the job of a key, after a preview', async () => {
    const page = await browser.page(`${served.url}/jobs?state=scheduled&task=charge-card&key=renewal+2`)
    await press(page, 'Cancel all 1')
    await confirm(page, 'Cancel all 1')
    await page.getByText('Cancelled 1 job.').waitFor()
    expect(events).toMatchObject([{ target: { task: 'charge-card', key: 'renewal 2', state: 'scheduled' }, jobs: 1 }])
    const { rows } = await pool.query(`select meta ->> 'key' as key from pgq.dead_jobs where reason = 'cancelled'`)
    expect(rows).toEqual([{ key: 'renewal 2' }])
    await page.goto(`${served.url}/jobs?state=dead&task=charge-card&key=renewal+2`)
    await press(page, 'Delete all 1')
    await confirm(page, 'Delete all 1')
    await page.getByText('Deleted 1 job.').waitFor()
  })

  test('ask all that run and fit a filter to stop', async () => {
    const page = await browser.page(`${served.url}/jobs?state=running&task=charge-card`)
    await press(page, 'Cancel all 2')
    await page.getByText('Ask the handlers of all 2 that fit this filter to stop?').waitFor()
    await confirm(page, 'Cancel all 2')
    await page.getByText('Asked the handlers of 2 jobs to stop.').waitFor()
    await expect.poll(() => events.length).toBe(1)
    expect(events).toMatchObject([
      { action: 'cancel', target: { task: 'charge-card', state: 'running' }, outcome: 'done', jobs: 2 },
    ])
    expect(await page.getByRole('button', { name: 'Delete' }).count()).toBe(0)
  })

  test('who may only look sees neither buttons nor args', async () => {
    const page = await browser.page(`${looking.url}/jobs/${shop.retrying[0]}`)
    await page.getByText('it takes the permission “view-args”').waitFor()
    expect(await page.getByRole('button').count()).toBe(0)
    expect(await page.content()).not.toContain('40000')
    await page.goto(`${looking.url}/schedules?name=daily-report`)
    await page.getByText('it takes the permission “view-args”').waitFor()
    expect(await page.getByRole('button').count()).toBe(0)
    expect(await page.content()).not.toContain('visa')
    await page.goto(`${looking.url}/schedules`)
    await page.getByText('every 5 minutes').waitFor()
    expect(await page.getByRole('button').count()).toBe(0)
  })
})
