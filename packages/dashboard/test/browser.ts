import { existsSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import { afterAll, onTestFinished } from 'vitest'

const PLACES = [
  process.env.PGQ_CHROMIUM,
  // The same without a window: two thirds of the work.
  '/usr/bin/chromium-headless-shell',
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
  '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome',
]

/** Where a Chromium is, on this machine. */
export const chromiumPath = PLACES.find((path) => path && existsSync(path))

if (!chromiumPath) {
  console.log('The tests of the dashboard in a browser are skipped: no Chromium here. Name one in PGQ_CHROMIUM.')
}

/** How long a test in a browser may take: screenshots and axe are slow where others work, too. */
export const BROWSER_MS = 60_000

/** Starts the browser of a test file at its first page. */
export function openBrowser() {
  let started: Promise<Browser> | undefined
  afterAll(async () => (await started)?.close())
  return {
    /** A page of its own, closed after the test. What a page must never do is noted. */
    async page(url: string, options: BrowserContextOptions = {}): Promise<WatchedPage> {
      started ??= chromium.launch({
        executablePath: chromiumPath!,
        args: [
          '--no-sandbox',
          '--disable-dev-shm-usage',
          '--force-color-profile=srgb',
          '--renderer-process-limit=1',
          '--in-process-gpu',
        ],
      })
      const context = await (await started).newContext({
        viewport: { width: 1280, height: 860 },
        // Colours on their way from light to dark would be judged by their contrast.
        reducedMotion: 'reduce',
        ...options,
      })
      onTestFinished(() => context.close())
      const page = await context.newPage()
      page.setDefaultTimeout(BROWSER_MS / 2)
      const faults: string[] = []
      page.on('dialog', (dialog) => {
        faults.push(`dialog: ${dialog.message()}`)
        void dialog.dismiss()
      })
      page.on('pageerror', (error) => faults.push(`error: ${error.message}`))
      page.on('console', (message) => {
        if (message.type() === 'error') faults.push(`console: ${message.text()}`)
      })
      await page.goto(url)
      return Object.assign(page, { faults })
    },
  }
}

export type WatchedPage = Page & { readonly faults: string[] }

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What axe finds that keeps people out. */
export async function seriousFaults(page: Page): Promise<string[]> {
  await page.evaluate(axe)
  return page.evaluate(`axe.run({ resultTypes: ['violations'] }).then(({ violations }) => violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => id + ': ' + nodes.map(({ html }) => html).join(' ')))`)
}

/** The page asks all its questions at once, as when it is seen again. */
export const askAgain = (page: Page): Promise<unknown> =>
  page.evaluate(`document.dispatchEvent(new Event('visibilitychange'))`)

const folder = process.env.PGQ_SCREENSHOTS

/** Before a picture of what is drawn while one looks; no test waits for it. */
export async function look(page: Page, ms: number): Promise<void> {
  if (folder) await page.waitForTimeout(ms)
}

/** Keeps a picture where PGQ_SCREENSHOTS names a folder: those of the documentation are made so. */
export async function picture(page: Page, name: string): Promise<void> {
  if (folder) await page.screenshot({ path: join(folder, `${name}.png`) })
}
