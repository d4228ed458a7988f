import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer, getRequestListener } from '@hono/node-server'
import express from 'express'
import fastify from 'fastify'
import { Hono } from 'hono'
import { describe, expect, onTestFinished, test } from 'vitest'
import { dashboard } from '../src/index.js'
import { BROWSER_MS, chromiumPath, openBrowser } from './browser.js'
import { threeDeadLetters } from './shop.js'

const { pool, ids } = await threeDeadLetters()
const browser = openBrowser()

const BASE = '/admin/jobs'

const handler = dashboard({ executor: pool, basePath: BASE, authenticate: () => 'ada', allow: ['delete'] })

/** Each as the README has it, in an application that answers more than that. Answers its address. */
const mounts: Record<string, () => Promise<string>> = {
  async Hono() {
    const app = new Hono()
    app.get('/', (c) => c.text('the shop'))
    app.all(BASE, (c) => handler(c.req.raw))
    app.all(`${BASE}/*`, (c) => handler(c.req.raw))
    return serve(createAdaptorServer({ fetch: app.fetch }) as Server)
  },
  async Express() {
    const app = express()
    app.use(BASE, getRequestListener(handler))
    app.use(express.json())
    app.get('/', (_request, response) => void response.send('the shop'))
    return serve(createServer(app))
  },
  async Fastify() {
    const app = fastify()
    app.get('/', async () => 'the shop')
    app.register(async (jobs) => {
      const listener = getRequestListener(handler)
      jobs.removeAllContentTypeParsers()
      jobs.addContentTypeParser('*', (_request, _payload, done) => done(null)) // the handler reads the body itself
      for (const path of [BASE, `${BASE}/*`]) {
        jobs.all(path, (request, reply) => {
          reply.hijack()
          return listener(request.raw, reply.raw)
        })
      }
    })
    onTestFinished(() => app.close())
    return app.listen({ host: '127.0.0.1', port: 0 })
  },
  // Not Next itself: what it calls a route handler with.
  async 'a route handler of Next'() {
    const route = { GET: handler, POST: handler } as Record<string, (request: Request, context: object) => unknown>
    const called = (request: Request): Response | Promise<Response> => {
      const { pathname } = new URL(request.url)
      if (!pathname.startsWith(BASE)) return new Response('the shop')
      const slug = pathname.slice(BASE.length).split('/').filter(Boolean)
      return route[request.method]!(request, { params: Promise.resolve({ slug }) }) as Promise<Response>
    }
    return serve(createServer(getRequestListener(called)))
  },
  async 'Node’s http'() {
    const listener = getRequestListener(handler)
    return serve(
      createServer((request, response) => {
        if (request.url === '/') response.end('the shop')
        else void listener(request, response)
      }),
    )
  },
}

async function serve(server: Server): Promise<string> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(async () => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

// Mutants: a path that one kind of router strips and the other keeps; a body that a parser has read before.
test.each(Object.entries(mounts))('in %s: the page, its files, an answer, an action', async (_, mount) => {
  const url = await mount()
  expect(await (await fetch(url)).text()).toBe('the shop')

  for (const path of [BASE, `${BASE}/`, `${BASE}/jobs?state=ready`]) {
    const page = await fetch(url + path)
    expect([path, page.status]).toEqual([path, 200])
    const html = await page.text()
    expect(html).toContain(`<base href="${BASE}/"`)
    const asset = await fetch(`${url}${BASE}/${/assets\/[\w.-]+\.js/.exec(html)![0]}`)
    expect([asset.status, asset.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
  }

  expect((await deleteFirst(url, 'http://evil.test')).status).toBe(403)
  const answer = await deleteFirst(url)
  expect([answer.status, await answer.json()]).toEqual([200, { jobs: 1 }])
  expect((await pool.query('select from pgq.dead_jobs')).rowCount).toBe(2)
})

test('behind what has read the body already, an action says where to mount it', async () => {
  const app = express()
  app.use(express.json())
  app.use(BASE, getRequestListener(handler))
  const answer = await deleteFirst(await serve(createServer(app)))
  expect([answer.status, await answer.json()]).toEqual([
    400,
    { error: expect.stringMatching(/body .* is empty.* mount the dashboard before what reads bodies/) },
  ])
})

test('mounted without getRequestListener, it says so', async () => {
  const app = express()
  app.use(BASE, handler as unknown as express.RequestHandler)
  app.use(
    ((error, _request, response, _next) =>
      void response.status(500).send(error.message)) as express.ErrorRequestHandler,
  )
  const answer = await fetch((await serve(createServer(app))) + BASE)
  expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining('wrap it: getRequestListener(')])
})

describe.skipIf(!chromiumPath)('in a browser', { timeout: BROWSER_MS }, () => {
  // Mutants: a page that stays white; one that says so where all is well.
  test.each([
    ['/q', false],
    [BASE, true],
  ])('mounted at %s, where basePath may not be, it says so if it is not', async (path, isRight) => {
    const app = new Hono()
    app.all(`${path}/*`, (c) => handler(c.req.raw))
    const url = await serve(createAdaptorServer({ fetch: app.fetch }) as Server)
    const page = await browser.page(`${url}${path}/`)
    const hint = page.getByText(`is not mounted where its option basePath says: ${BASE}/`)
    await (isRight ? page.getByRole('heading', { name: 'Overview' }) : hint).waitFor()
    expect(await hint.count()).toBe(isRight ? 0 : 1)
  })
})

/** What our page sends. */
async function deleteFirst(url: string, origin = url): Promise<Response> {
  const session = await fetch(`${url}${BASE}/api/session`)
  const { user, token } = (await session.json()) as { user: string; token: string }
  expect(user).toBe('ada')
  return fetch(`${url}${BASE}/api/actions/delete-dead`, {
    method: 'POST',
    body: JSON.stringify({ ids: [ids[0]] }),
    headers: {
      origin,
      'content-type': 'application/json',
      'sec-fetch-site': 'same-origin',
      'x-pgq-token': token,
      cookie: session.headers.get('set-cookie')!.split(';')[0]!,
    },
  })
}
