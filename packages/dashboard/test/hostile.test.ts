import { testDatabase } from '@pgq/test-db'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buildClient } from '../client/build.mjs'
import { PERMISSIONS, type ServedDashboard, serveDashboard } from '../src/index.js'
import { BROWSER_MS, chromiumPath, openBrowser } from './browser.js'

const HOSTILE = [
  '<script>alert(1)</script>',
  '</script><script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<svg onload=alert(1)>',
  '<svg><script>alert(1)</script></svg>',
  '<iframe src="javascript:alert(1)"></iframe>',
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<a href="javascript:alert(1)" id=x>x</a>',
  'javascript:alert(1)',
  'data:text/html,<script>alert(1)</script>',
  '" onmouseover="alert(1)" x="',
  "' onfocus='alert(1)' autofocus='",
  '"><script>alert(1)</script>',
  "'-alert(1)-'",
  '`-alert(1)-`',
  `\${alert(1)}`,
  '{{constructor.constructor("alert(1)")()}}',
  '{{base}}',
  '<math><mi xlink:href="javascript:alert(1)">x</mi></math>',
  '<body onload=alert(1)>',
  '<input autofocus onfocus=alert(1)>',
  '<details open ontoggle=alert(1)>',
  '<video><source onerror=alert(1)></video>',
  '<style>@import "javascript:alert(1)";</style>',
  '<link rel=stylesheet href=//evil.test/x.css>',
  '<meta http-equiv=refresh content="0;url=javascript:alert(1)">',
  '<base href="//evil.test/">',
  '<object data="javascript:alert(1)"></object>',
  '<embed src="javascript:alert(1)">',
  '<form action="javascript:alert(1)"><button>x</button></form>',
  '<template><script>alert(1)</script></template>',
  '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
  '<!--><img src=x onerror=alert(1)>-->',
  '&lt;script&gt;alert(1)&lt;/script&gt;',
  '\\u003cscript\\u003ealert(1)\\u003c/script\\u003e',
  '\u202e<script>alert(1)</script>',
  '../../api/actions/delete-dead',
  '?state=dead&queue=x#<img src=x onerror=alert(1)>',
  '%3Cscript%3Ealert(1)%3C/script%3E%',
  '__proto__',
]

const database = await testDatabase()
const pool = new pg.Pool({ connectionString: database.url })
const browser = openBrowser()
let served: ServedDashboard
const ids: string[] = []

beforeAll(async () => {
  await buildClient()
  served = await serveDashboard({ executor: pool, port: 0, allow: PERMISSIONS })
  for (const text of HOSTILE) ids.push(...(await everywhere(text)))
})
afterAll(async () => {
  await served?.close()
  await pool.end()
})

/** Puts the text into every field that holds one, in every state. Answers the ids of the jobs. */
async function everywhere(text: string): Promise<string[]> {
  const error = { attempt: 1, at: text, name: text, message: text, stack: text }
  const args = JSON.stringify({ [text]: text })
  const meta = JSON.stringify({
    [text]: text,
    key: text,
    schedule: text,
    slot: text,
    concurrencyKey: text,
    concurrencyMax: text,
  })
  const values = [text, args, JSON.stringify([error]), JSON.stringify({ maxAttempts: text }), meta]
  const [waiting, dead] = await Promise.all([
    pool.query(
      `insert into pgq.jobs (queue, task, args, errors, retry, meta, execute_at) values ($1, $1, $2, $3, $4, $5, null), ($1, $1, $2, $3, $4, $5, now() + interval '1 day'), ($1, $1, $2, $3, $4, $5, 'infinity')
       returning id::text as id`,
      values,
    ),
    pool.query(
      `insert into pgq.dead_jobs (id, queue, task, args, errors, retry, meta) values (nextval(pg_get_serial_sequence('pgq.jobs', 'id')), $1, $1, $2, $3, $4, $5) returning id::text as id`,
      values,
    ),
  ])
  await pool.query(
    `with worker as (insert into pgq.workers (hostname, queues, tasks, locks) values ($1, array[$1], array[$1], false) returning id)
     insert into pgq.leases (worker_id, number, ids, positions, created_ats, ready_ats, priorities, attempts, crash_counts, queues, tasks, args, retries, metas, errors)
     select id, 1, array[nextval(pg_get_serial_sequence('pgq.jobs', 'id'))], '{0}', array[now()], array[now()], '{0}', '{1}', '{0}', array[$1], array[$1], array[$2::json], array[$4::json], array[$5::json], array[$3::json] from worker`,
    values,
  )
  await pool.query(
    `insert into pgq.schedules (name, queue, task, args, retry, cron, time_zone, next_at, failed_at, error)
     values ($1, $1, $1, $2, $3, $1, $1, now(), now(), $1)`,
    [text, args, JSON.stringify({ maxAttempts: text })],
  )
  await pool.query(`insert into pgq.job_keys (task, key, job_id) values ($1, $1, $2)`, [text, waiting.rows[0].id])
  await pool.query(`insert into pgq.job_stats (queue, task, completed) values ($1, $1, 1)`, [text])
  return [...waiting.rows, ...dead.rows].map(({ id }) => id)
}

describe.skipIf(!chromiumPath)('in a browser', { timeout: BROWSER_MS }, () => {
  // Mutant: innerHTML for a text node, anywhere; an address made of a name that is not encoded.
  test(`${HOSTILE.length} hostile texts in every field run nothing and load nothing`, {
    timeout: 2 * BROWSER_MS,
  }, async () => {
    const page = await browser.page(`${served.url}/jobs`)
    await page.getByText(HOSTILE[0]!).first().waitFor()
    const elsewhere: string[] = []
    page.on('request', (request) => {
      if (!request.url().startsWith(served.url)) elsewhere.push(request.url())
    })
    await page.evaluate(
      `document.addEventListener('securitypolicyviolation', (event) => console.error('csp: ' + event.violatedDirective))`,
    )
    const show = (path: string) =>
      page.evaluate(
        `history.pushState(null, '', ${JSON.stringify(path)}); dispatchEvent(new PopStateEvent('popstate'))`,
      )
    for (const path of ['/', '/queues', '/dead', '/schedules', '/workers', '/health']) {
      await show(path)
      await page.getByText(HOSTILE[2]!).first().waitFor({ state: 'attached' })
    }
    for (const state of ['ready', 'scheduled', 'parked', 'running', 'dead']) {
      await show(`/jobs?state=${state}`)
      await page.getByText(HOSTILE[2]!).first().waitFor({ state: 'attached' })
    }
    for (const [place, id] of ids.entries()) {
      await show(`/jobs/${id}`)
      const text = HOSTILE[Math.floor(place / 4)]!
      await page.locator('h1').getByText(text, { exact: true }).waitFor({ state: 'attached' })
      expect(await page.locator('dd a[href*="schedules?"]').textContent()).toBe(text)
      if (place % 4 > 0) continue
      // Its key leads to it alone.
      await page.locator('dd a[href*="key="]').click()
      await page.locator('tbody tr').getByText(id, { exact: true }).waitFor()
      expect(await page.getByLabel('Key').inputValue()).toBe(text)
    }
    // Its links lead to where its jobs are, whatever it is called.
    for (const text of HOSTILE) {
      await show('/queues')
      await page.getByRole('link', { name: text, exact: true }).first().click()
      await expect.poll(() => page.getByLabel('Queue').inputValue()).toBe(text.replace(/[\r\n]/g, ''))
    }
    for (const text of HOSTILE) {
      await show('/schedules')
      await page.getByRole('link', { name: text, exact: true }).first().click()
      await page.locator('h1').getByText(text, { exact: true }).waitFor({ state: 'attached' })
      await page.getByText('None: its cron expression').waitFor()
    }
    // Its buttons are about it, whatever it is called.
    await page.getByRole('button', { name: 'Remove' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click()
    await page.getByText('There is no schedule of this name').waitFor()
    expect(page.faults).toEqual([])
    expect(elsewhere).toEqual([])
    expect(await page.evaluate('document.querySelectorAll("iframe, object, embed, script:not([src])").length')).toBe(0)
  })
})
