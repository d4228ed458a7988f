import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { isAlive } from '@pgq/config/is-alive'
import { describe, expect, onTestFinished, test } from 'vitest'
import { shopDatabase } from './shop-database.js'
import { type ShopProcess, shopProcess } from './shop-process.js'

const endsWithinMs = 2_000
const { url: databaseUrl } = await shopDatabase()

describe.skipIf(process.platform !== 'linux')(
  'a shop with a database of its own (process trees are read from /proc)',
  () => {
    // Mutants: a signal that run.mjs does not hand on (all is killed then, and nobody says the last words); one that the shop
    // does not listen to; a stop that never ends; an error of a connection whose server was stopped first.
    test.each([
      ['Ctrl-C', { throughNpm: true, signal: 'SIGINT', toGroup: true, code: 130 }],
      ['SIGTERM to npm alone', { throughNpm: true, signal: 'SIGTERM', toGroup: false, code: 143 }],
      ['SIGINT without npm', { throughNpm: false, signal: 'SIGINT', toGroup: false, code: 130 }],
      ['SIGTERM without npm', { throughNpm: false, signal: 'SIGTERM', toGroup: false, code: 143 }],
      ['a terminal that is closed', { throughNpm: false, signal: 'SIGHUP', toGroup: false, code: 129 }],
    ] as const)('%s ends all of it in time', { timeout: 120_000 }, async (_, { throughNpm, signal, toGroup, code }) => {
      const shop = shopProcess(['--port', '0'], { throughNpm })
      await chargeAnOrder(shop)
      // The page comes with the build; what it asks, from the sources too.
      const addresses = await addressesOf(shop)
      const page = throughNpm ? addresses.dashboard! : `${addresses.dashboard}/api/session`
      expect((await fetch(page)).status).toBe(200)
      const pids = shop.tree()
      expect(pids.length).toBeGreaterThan(throughNpm ? 8 : 5)
      const { signalledAt, ...end } = await endBy(
        shop,
        () => process.kill(toGroup ? -pids[0]! : pids[0]!, signal),
        pids,
      )
      expect(Date.now() - signalledAt).toBeLessThan(endsWithinMs)
      // npm dies of the signal or exits as what it started, as it likes.
      if (!throughNpm) expect(end).toEqual({ code, signal: null })
      expect(shop.databaseFolders()).toEqual([])
      expect(shop.stdout).toMatch(/\nThe shop is closed\.\n$/)
      expect(shop.stderr).toBe('')
    })

    // Mutant: a database that outlives its shop.
    test('kill -9 takes the database along', { timeout: 60_000 }, async () => {
      const shop = shopProcess(['--port', '0'])
      await chargeAnOrder(shop)
      await endBy(shop, () => shop.child.kill('SIGKILL'), shop.tree())
      await expect.poll(() => shop.databaseFolders()).toEqual([])
    })

    // The next start sweeps what a database that was being made left in the temporary folder.
    test('a signal while the database is being made', { timeout: 60_000 }, async () => {
      const shop = shopProcess(['--port', '0'])
      await expect.poll(() => shop.databaseFolders(), { timeout: 30_000, interval: 5 }).not.toEqual([])
      const pids = shop.tree()
      const { code } = await endBy(shop, () => process.kill(-pids[0]!, 'SIGINT'), pids)
      expect(code).toBe(130)
    })
  },
)

// Mutants: a worker whose runs nobody counts; a dashboard that only looks.
test('prints where the shop, its dashboard and its metrics are', { timeout: 60_000 }, async () => {
  const shop = shopProcess(['--port', '0'], { databaseUrl })
  await chargeAnOrder(shop)
  const { shop: api, dashboard, metrics } = await addressesOf(shop)
  expect(await (await fetch(`${api}/jobs`)).json()).toEqual(expect.any(Array))
  const session = await fetch(`${dashboard}/api/session`)
  expect(await session.json()).toMatchObject({ permissions: expect.arrayContaining(['pause', 'redrive', 'view-args']) })
  const scraped = await (await fetch(metrics!)).text()
  expect(scraped).toMatch(/^pgq_jobs_settled_total\{.*task="charge-order".*outcome="completed".*\} 1$/m)
  expect(scraped).toMatch(/^pgq_queue_up 1$/m)
  expect(shop.stdout).not.toContain('traceId')
})

// Mutants: enqueues, or handlers, that nobody traces.
test('prints traces where they are asked for: a handler runs in the trace of its enqueue', {
  timeout: 60_000,
}, async () => {
  const shop = shopProcess(['--port', '0'], { databaseUrl, more: { OTEL_TRACES_EXPORTER: 'console' } })
  await chargeAnOrder(shop)
  await shop.printed(/name: 'process default'.*'pgq.task': 'charge-order'/s)
  const traceOf = (operation: string) =>
    [...shop.stdout.matchAll(/^ {2}traceId: '(\w+)',.*?^ {2}name: '(\w+) \w+',.*?'pgq.task': '([\w-]+)'/gms)].find(
      ([, , name, task]) => name === operation && task === 'charge-order',
    )?.[1]
  expect(traceOf('process')).toMatch(/^\w{32}$/)
  expect(traceOf('process')).toBe(traceOf('send'))
})

describe('what goes wrong at the start', { timeout: 60_000 }, () => {
  test('a port that is taken', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void other.close())
    await once(other, 'listening')
    const { port } = other.address() as AddressInfo
    const shop = shopProcess(['--port', String(port)], { databaseUrl })
    expect(await shop.ended).toEqual({ code: 1, signal: null })
    expect(shop.stderr).toBe(`Port ${port} is taken: choose another one with --port.\n`)
  })

  test('a DATABASE_URL that leads nowhere', async () => {
    const shop = shopProcess([], { databaseUrl: 'postgres://postgres@127.0.0.1:1/postgres' })
    expect(await shop.ended).toEqual({ code: 1, signal: null })
    expect(shop.stderr).toMatch(/^Cannot connect to PostgreSQL at 127\.0\.0\.1:1: connect ECONNREFUSED .*\n$/)
    expect(shop.databaseFolders()).toEqual([])
  })
})

async function chargeAnOrder(shop: ShopProcess): Promise<void> {
  const [url] = await shop.printed(/http:\/\/127\.0\.0\.1:\d+(?=\s)/)
  const order = JSON.stringify({ customer: 'me@shop.test', sku: 'tea', quantity: 1 })
  expect((await fetch(`${url}/orders`, { method: 'POST', body: order })).status).toBe(201)
  await shop.printed(/charge-order .* done/)
}

/** What it printed, by name. */
async function addressesOf(shop: ShopProcess): Promise<Record<string, string>> {
  await shop.printed(/^ {2}curl /m)
  return Object.fromEntries([...shop.stdout.matchAll(/^ {2}(\w+) +(http:\S+)$/gm)].map(([, name, url]) => [name, url!]))
}

/** Resolves when the shop and everything that it started are gone. */
async function endBy(shop: ShopProcess, signal: () => void, pids: readonly number[]) {
  const signalledAt = Date.now()
  signal()
  const end = await shop.ended
  await expect.poll(() => pids.filter(isAlive), { timeout: 10_000, interval: 10 }).toEqual([])
  return { ...end, signalledAt }
}
