import { randomBytes } from 'node:crypto'
import { InvalidOptionError } from '@pgq/core'
import { type Context, Hono } from 'hono'
import { getCookie, setCookie } from 'hono/cookie'
import { ACTIONS, type ActionDone, isAction, readTarget, runAction } from './actions.js'
import { answers } from './answers.js'
import { checkAssets, loadAssets } from './assets.js'
import { audit } from './audit.js'
import { Failures } from './failures.js'
import { type DashboardOptions, type ResolvedOptions, resolveOptions } from './options.js'
import type { Permission } from './permissions.js'
import { explain } from './questions.js'
import { maySearchArgs } from './redact.js'
import { refuseForeign, refuseHost, TOKEN_COOKIE } from './request-checks.js'

interface Env {
  Variables: { user: string; permissions: readonly Permission[] }
}

/**
 * A dashboard as a fetch handler, to be mounted where requests are served. It holds nothing open: no timer, no connection.
 * Throws InvalidOptionError when the options cannot be, when its files are not beside it, as in a bundle, and when it is called with
 * what is no Request.
 */
export function dashboard(options: DashboardOptions): (request: Request) => Promise<Response> {
  const resolved = resolveOptions(options)
  checkAssets()
  const app = routes(resolved)
  return (request) => {
    checkRequest(request)
    return Promise.resolve(app.fetch(request))
  }
}

/** Thrown at once: Express 4 would not hear of a rejection. */
function checkRequest(request: Request): void {
  if (typeof request?.headers?.get === 'function') return
  throw new InvalidOptionError(
    'The dashboard takes a Request and answers a Response. For Express and Node’s http wrap it: getRequestListener(dashboard({ ... })), of @hono/node-server.',
  )
}

function routes(options: ResolvedOptions): Hono<Env> {
  const { basePath, logger, executor, redact, schema } = options
  const failures = new Failures(logger)
  const app = new Hono<Env>({ getPath: (request) => pathBelow(basePath, new URL(request.url).pathname) })

  app.use(async (c, next) => {
    const refusal = refuseHost(c.req.raw, options)
    const answer = refusal ? c.text(refusal, 403) : await letIn(c, options)
    if (answer) c.res = answer
    else await next()
    for (const [name, value] of HEADERS) c.res.headers.set(name, value)
    if (!c.res.headers.has('Cache-Control')) c.res.headers.set('Cache-Control', 'no-store')
  })

  app.get('/assets/:name', (c) => {
    const file = loadAssets().files.get(c.req.param('name'))
    if (!file) return c.text('There is no such file.', 404)
    return c.body(file.body, 200, {
      'Content-Type': file.type,
      'Cache-Control': 'private, max-age=31536000, immutable',
    })
  })

  app.get('/api/session', (c) =>
    c.json({
      user: c.var.user,
      permissions: c.var.permissions,
      searchesArgs: maySearchArgs(c.var.permissions, redact),
      schema,
      token: tokenOf(c, basePath),
    }),
  )
  // Only what asks the database follows.
  app.use('/api/*', async (c, next) => {
    await next()
    if (c.res.ok) failures.answered(questionOf(c))
  })
  app.route('/api', answers(options))

  app.post('/api/actions/:name', async (c) => {
    const name = c.req.param('name')
    if (!isAction(name)) return c.json({ error: `There is no action ${name}.` }, 404)
    const asked = { at: new Date(), user: c.var.user, action: name }
    const refusal = refuseForeign(c.req.raw, getCookie(c, TOKEN_COOKIE))
    if (refusal) {
      audit({ ...asked, target: {}, outcome: 'denied' }, options)
      return c.json({ error: refusal }, 403)
    }
    const { permission } = ACTIONS[name]
    const isAllowed = c.var.permissions.includes(permission)
    const target = await readTarget(c.req.raw).catch((error: Error) => error)
    const event = { ...asked, target: target instanceof Error ? {} : target }
    if (!isAllowed) {
      audit({ ...event, outcome: 'denied' }, options)
      return c.json({ error: `You may not do this: it takes the permission "${permission}".` }, 403)
    }
    const { error, ...done }: ActionDone & { error?: unknown } =
      target instanceof Error ? { jobs: 0, error: target } : await runAction(name, executor, target, { schema })
    audit({ ...event, outcome: error === undefined ? 'done' : 'failed', ...done }, options)
    return error === undefined ? c.json(done) : failure(c, error, done.jobs)
  })

  app.all('/api/*', (c) => c.json({ error: `There is no ${c.req.path}.` }, 404))
  // Every other path is a page of the front end, which finds its way by itself.
  app.get('*', (c) => c.html(loadAssets().page(basePath)))

  app.onError((error, c) => failure(c, error))
  return app

  /** Tells the page, and the log when it is no fault of the request: of an action each time, of what pages ask again and again once. */
  function failure(c: Context, error: unknown, jobsBefore = 0): Response {
    const { status, message } = explain(error)
    const { name, message: reason } = error as Error
    if (status !== 400 && c.req.method === 'GET') failures.failed(questionOf(c), error)
    else if (status !== 400) logger.error({ err: { name, message: reason } }, 'dashboard: an action failed')
    const before = jobsBefore > 0 ? `${jobsBefore.toLocaleString('en')} jobs were changed; then: ` : ''
    return c.json({ error: `${before}${message}` }, status)
  }
}

/** Of all jobs one question. */
const questionOf = (c: Context): string => c.req.path.replace(/\/\d+$/, '')

/** Answers a response when he may not come in. What the application throws is for its log: a stranger reads the answer. */
async function letIn(c: Context<Env>, options: ResolvedOptions): Promise<Response | undefined> {
  try {
    return await findOut(c, options)
  } catch (error) {
    options.logger.error({ err: error }, 'dashboard: authenticate or allow failed')
    return c.text('Who you are could not be found out. The log says why, where the dashboard has a logger.', 500)
  }
}

/** Notes who asks and what he may. */
async function findOut(c: Context<Env>, { authenticate, allow }: ResolvedOptions): Promise<Response | undefined> {
  const user = authenticate === false ? 'anybody' : await authenticate(c.req.raw)
  // Copied: the headers of some, as of Response.redirect(), cannot be added to.
  if (user instanceof Response) return new Response(user.body, user)
  if (typeof user !== 'string' || user === '') return c.text('You may not see this.', 401)
  const permissions = typeof allow === 'function' ? await allow(user) : allow
  // A text would include the names that it holds.
  if (!Array.isArray(permissions)) throw new InvalidOptionError('allow must answer a list of permissions.')
  c.set('user', user)
  c.set('permissions', permissions)
  return undefined
}

/** The token of this browser, made when it has none. The cookie is for this path alone, and other sites never send it. */
function tokenOf(c: Context<Env>, basePath: string): string {
  const token = getCookie(c, TOKEN_COOKIE) ?? randomBytes(24).toString('base64url')
  setCookie(c, TOKEN_COOKIE, token, { path: basePath || '/', httpOnly: true, sameSite: 'Strict' })
  return token
}

// A router that strips the path it mounts at (Express) and one that keeps it (Hono, Next) both lead here.
function pathBelow(basePath: string, path: string): string {
  if (path === basePath) return '/'
  return path.startsWith(`${basePath}/`) ? path.slice(basePath.length) : path
}

const HEADERS: readonly (readonly [string, string])[] = [
  [
    'Content-Security-Policy',
    "default-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
  ],
  ['X-Content-Type-Options', 'nosniff'],
  ['X-Frame-Options', 'DENY'],
  ['Referrer-Policy', 'same-origin'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
]
