import { defineTask, InvalidOptionError, typed } from '@pgq/core'
import { startProxy } from '@pgq/test-db'
import { beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import {
  type AuditEvent,
  basicAuth,
  type DashboardOptions,
  dashboard,
  PERMISSIONS,
  serveDashboard,
} from '../src/index.js'
import { SlowDatabaseError } from '../src/questions.js'
import { bury, threeDeadLetters } from './shop.js'

const { database, pool, ids } = await threeDeadLetters()

const HOST = 'jobs.shop.test'

/** A client of a mounted dashboard, which sends what our page sends unless told otherwise. */
function open(options: Partial<DashboardOptions> = {}) {
  const handler = dashboard({ executor: pool, authenticate: () => 'ada', allow: PERMISSIONS, ...options })
  const get = (path: string, headers: Record<string, string> = {}) =>
    handler(new Request(`https://${HOST}${path}`, { headers: { host: HOST, ...headers } }))
  return {
    get,
    async post(path: string, body: object | string, headers: Record<string, string | undefined> = {}) {
      const session = await get(path.replace(/api\/.*/, 'api/session'))
      const { token } = (await session.json()) as { token: string }
      const ours = {
        host: HOST,
        origin: `https://${HOST}`,
        'sec-fetch-site': 'same-origin',
        'x-pgq-token': token,
        cookie: session.headers.get('set-cookie')!.split(';')[0]!,
      }
      const sent = Object.entries({ ...ours, ...headers }).filter((entry): entry is [string, string] => !!entry[1])
      return handler(
        new Request(`https://${HOST}${path}`, {
          method: 'POST',
          headers: sent,
          body: typeof body === 'string' ? body : JSON.stringify(body),
        }),
      )
    },
  }
}

const remaining = async (): Promise<number> =>
  (await pool.query('select count(*)::integer as jobs from pgq.dead_jobs')).rows[0].jobs

describe('who comes in', () => {
  test('nobody without authenticate, nor with nonsense', () => {
    for (const wrong of [
      { authenticate: undefined },
      { authenticate: 'ada' },
      { executor: undefined },
      { basePath: 'jobs' },
      { basePath: '/"><script>' },
      { allow: ['everything'] },
      { redakt: ['card.number'] },
      { allow: 'redrive' },
      { allow: 'all but delete' },
      { allowedHosts: 'shop.test' },
      { allowedHosts: [17] },
      { redact: 'card' },
      { questionTimeoutMs: Number.NaN },
      { questionTimeoutMs: -1 },
      { questionTimeoutMs: 0 },
      { questionTimeoutMs: Number.POSITIVE_INFINITY },
      { questionTimeoutMs: '50' },
      { redact: [''] },
      { redact: ['card..number'] },
      { redact: ['.card'] },
      { redact: [17] },
    ]) {
      expect(() => open(wrong as object)).toThrow(InvalidOptionError)
    }
  })

  // Mutants: the assets, or the API, before the question who asks.
  test('a stranger sees nothing: no page, no file, no answer', async () => {
    const { get } = open({ authenticate: () => undefined })
    for (const path of ['/', '/jobs', '/api/session', '/api/overview', '/assets/x.js']) {
      expect((await get(path)).status).toBe(401)
    }
  })

  test('a login of your own may redirect', async () => {
    const { get } = open({ authenticate: () => Response.redirect('https://login.test/', 302) })
    const answer = await get('/')
    expect([answer.status, answer.headers.get('location')]).toEqual([302, 'https://login.test/'])
  })

  test('basic auth: the name and the password, and nothing near them', async () => {
    const { get } = open({ authenticate: basicAuth({ username: 'ada', password: 'pass:wörd' }) })
    const as = (text: string) => get('/api/session', { authorization: `Basic ${Buffer.from(text).toString('base64')}` })
    expect(await (await as('ada:pass:wörd')).json()).toMatchObject({ user: 'ada' })
    for (const wrong of ['ada:pass', 'ada:', 'ada', ':pass:wörd', 'Ada:pass:wörd', '']) {
      expect((await as(wrong)).status).toBe(401)
    }
    expect((await get('/')).headers.get('www-authenticate')).toContain('Basic')
    expect(() => basicAuth({ username: 'ada', password: '' })).toThrow(InvalidOptionError)
  })

  // DNS rebinding. Mutant: no look at the host.
  test('without authentication only this machine is answered to, by its own names', async () => {
    const handler = dashboard({ executor: pool, authenticate: false })
    const status = async (host: string) =>
      (await handler(new Request(`http://${host}/api/session`, { headers: { host } }))).status
    for (const host of ['localhost', 'localhost:4747', '127.0.0.1:80', '[::1]:4747'])
      expect(await status(host)).toBe(200)
    for (const host of ['evil.test', 'localhost.evil.test', '127.0.0.1.evil.test:4747']) {
      expect(await status(host)).toBe(403)
    }
  })

  test('served alone, it refuses a network without authentication, and says what to do', async () => {
    for (const host of ['0.0.0.0', '::', '192.168.0.1', 'shop.test']) {
      await expect(serveDashboard({ executor: pool, host, port: 0 })).rejects.toThrow(/Pass authenticate: basicAuth/)
    }
    await expect(serveDashboard({ port: 0 })).rejects.toThrow(/executor or a connectionString/)
  })

  test('served alone by a connection string, it leaves nothing behind', async () => {
    const served = await serveDashboard({ connectionString: database.url, port: 0, basePath: '/q' })
    expect(served.url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/q$/)
    expect((await fetch(`${served.url}/api/overview`)).status).toBe(200)
    await served.close()
    await expect(fetch(served.url)).rejects.toThrow()
    // A backend is there for a moment after its client has gone.
    const left = () =>
      pool.query(
        `select from pg_stat_activity where application_name = 'pgq dashboard' and datname = current_database()`,
      )
    await expect.poll(async () => (await left()).rows).toEqual([])
  })
})

// Mutant: statement_timeout as an option of the connection.
test('served alone through a pooler, which refuses options of a connection', async () => {
  const { hostname, port } = new URL(database.url)
  const proxy = await startProxy(Number(port || 5432), hostname)
  const served = await serveDashboard({ connectionString: proxy.through(database.url), port: 0 })
  expect((await fetch(`${served.url}/api/workers`)).status).toBe(200)
  const [startup] = proxy.connections.map(({ sent }) => sent.slice(8, sent.indexOf('\0\0', 8)).split('\0'))
  await served.close()
  await proxy.close()
  expect(startup![0]).toBe('user')
  // Of the others, PgBouncer says: unsupported startup parameter.
  const welcome = ['user', 'database', 'client_encoding', 'application_name']
  expect(startup!.filter((_, n) => n % 2 === 0).filter((name) => !welcome.includes(name))).toEqual([])
})

// Mutants: no limit; one that stays with the session.
test('served alone, a question that takes longer than 2 s is ended on the server', async () => {
  const served = await serveDashboard({ connectionString: database.url, port: 0 })
  const blocker = await pool.connect()
  await blocker.query('begin; lock table pgq.workers')
  const waiting = () =>
    pool.query(
      `select from pg_stat_activity
       where application_name = 'pgq dashboard' and datname = current_database() and wait_event_type = 'Lock'`,
    )
  let answer: Response
  try {
    answer = await fetch(`${served.url}/api/workers`, { signal: AbortSignal.timeout(10_000) })
    await expect.poll(async () => (await waiting()).rows, { timeout: 5000 }).toEqual([])
  } finally {
    await blocker.query('rollback')
    blocker.release()
  }
  expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining('statement timeout')])
  expect((await fetch(`${served.url}/api/workers`)).status).toBe(200)
  await served.close()
})

// Mutants: the error in the answer; an answer without the headers; a text as a list, which holds the names within.
test.each<[string, Partial<DashboardOptions>]>([
  ['authenticate throws', { authenticate: () => Promise.reject(new Error('ldap://secret refused')) }],
  ['allow throws', { allow: () => Promise.reject(new Error('secret table')) }],
  ['allow answers no list', { allow: (() => 'all but delete') as never }],
])('when %s, a stranger is told nothing of it, and the log all', async (_what, options) => {
  const logged: unknown[] = []
  const { get } = open({ ...options, logger: { info() {}, error: (fields) => void logged.push(fields) } })
  for (const path of ['/', '/api/session']) {
    const answer = await get(path)
    expect([answer.status, await answer.text()]).toEqual([
      500,
      expect.stringMatching(/^Who you are could not be found/),
    ])
    expect(answer.headers.get('content-security-policy')).toMatch(/^default-src 'self';/)
    expect(answer.headers.get('cache-control')).toBe('no-store')
  }
  expect(logged).toEqual([{ err: expect.any(Error) }, { err: expect.any(Error) }])
})

// Mutant: the last hour by the clock of this process: the charts stay empty where that is off.
test.each([-6, 6])(
  'charts are of the last hour by the clock of the database, also where that of the process is off by %d h',
  async (hours) => {
    await pool.query(`insert into pgq.job_stats (queue, task, completed, begun_at)
      values ('default', 'mail', 3, now()), ('default', 'mail', 4, now() - interval '90 minutes')`)
    vi.useFakeTimers({ toFake: ['Date'], now: Date.now() + hours * 3_600_000 })
    onTestFinished(() => void vi.useRealTimers())
    const { get } = open()
    const ask = async (path: string): Promise<any> => (await get(`/api/${path}`)).json()
    expect((await ask('statistics')).total).toMatchObject({ completed: 3 })
    expect(await ask('tasks?range=1h')).toMatchObject([{ task: 'mail', completed: 3 }])
  },
)

// Mutants: a line for each poll of each page; the end not told; one question that is refused told as a database that is away.
test('what fails again and again is in the log when it begins, and when it is over', async () => {
  const logged: [string, object][] = []
  let broken: object | undefined
  const { get, post } = open({
    executor: { query: (text, params) => (broken ? Promise.reject(broken) : pool.query(text, params)) },
    logger: {
      info: (fields, message) => void logged.push([message, fields]),
      error: (fields, message) => void logged.push([message, fields]),
    },
  })
  const poll = async (...paths: string[]) => {
    for (const path of [...paths, ...paths]) await get(`/api/${path}`)
    return logged.splice(0)
  }
  const refused = { message: 'connect ECONNREFUSED', name: 'Error' }
  const down = { downMs: expect.any(Number) }

  expect(await poll('health', 'workers', 'session')).toEqual([])
  broken = Object.assign(new Error(refused.message), { code: 'ECONNREFUSED' })
  expect(await poll('health', 'workers', 'jobs/1', 'session')).toEqual([
    ['dashboard: the database cannot be reached', { err: refused }],
  ])
  await get('/api/jobs?state=none')
  broken = Object.assign(new Error('terminating connection'), { code: '57P01' })
  expect(await poll('health')).toEqual([])
  broken = undefined
  expect(await poll('session', 'workers', 'health')).toEqual([['dashboard: the database answers again', down]])

  broken = new SlowDatabaseError(5)
  expect(await poll('health')).toMatchObject([['dashboard: a question failed', {}]])
  broken = undefined
  expect(await poll('workers', 'health')).toEqual([['dashboard: the question that failed is answered again', down]])

  broken = Object.assign(new Error('permission denied'), { code: '42501' })
  const denied = ['dashboard: a question failed', { err: { name: 'Error', message: 'permission denied' } }]
  expect(await poll('health', 'jobs/1', 'jobs/2')).toEqual([denied, denied])
  await post('/api/actions/redrive', { task: 'mail' })
  await post('/api/actions/redrive', { task: 'mail' })
  expect(logged.splice(0).filter(([message]) => message === 'dashboard: an action failed')).toHaveLength(2)
  broken = undefined
  const again = ['dashboard: the question that failed is answered again', down]
  expect(await poll('workers', 'health', 'schedules')).toEqual([again])
})

// Mutant: no limit on this side: the page waits for that question for ever.
test('served alone, a connection that nobody answers on any more is replaced', async () => {
  const { hostname, port } = new URL(database.url)
  const proxy = await startProxy(Number(port || 5432), hostname)
  const connectionString = proxy.through(database.url)
  const served = await serveDashboard({ connectionString, port: 0, questionTimeoutMs: 60_000 })
  const ask = () => fetch(`${served.url}/api/health`, { signal: AbortSignal.timeout(20_000) })
  expect((await ask()).status).toBe(200)
  for (const connection of proxy.connections) connection.pause()
  const answer = await ask()
  expect([answer.status, await answer.text()]).toEqual([500, expect.stringContaining('timeout')])
  expect((await ask()).status).toBe(200)
  await served.close()
  await proxy.close()
}, 30_000)

describe('what is sent along', () => {
  test('every answer has the headers, refusals and errors too', async () => {
    const answers = [
      await open().get('/'),
      await open().get('/api/jobs?state=nonsense'),
      await open({ authenticate: () => undefined }).get('/'),
      await open({ allowedHosts: ['other.test'] }).get('/'),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 400, 401, 403])
    for (const { headers } of answers) {
      expect(headers.get('content-security-policy')).toMatch(/^default-src 'self';/)
      expect(headers.get('content-security-policy')).not.toContain('unsafe')
      expect(headers.get('x-frame-options')).toBe('DENY')
      expect(headers.get('cache-control')).toBe('no-store')
    }
  })

  test('below a base path: the page names it, and both kinds of routers lead here', async () => {
    const { get } = open({ basePath: '/admin/jobs/' })
    const html = await (await get('/admin/jobs')).text()
    expect(html).toContain('<base href="/admin/jobs/"')
    const asset = /assets\/[\w.-]+\.js/.exec(html)![0]
    for (const path of [`/admin/jobs/${asset}`, `/${asset}`]) {
      const file = await get(path)
      expect([file.status, file.headers.get('content-type')]).toEqual([200, 'text/javascript; charset=utf-8'])
      expect(file.headers.get('cache-control')).toContain('immutable')
    }
    expect((await get('/admin/jobs/api/session')).headers.get('set-cookie')).toMatch(
      /Path=\/admin\/jobs; HttpOnly; SameSite=Strict/,
    )
    for (const path of ['/assets/..%2Findex.html', '/assets/nothing.js', '/api/nothing']) {
      expect((await get(`/admin/jobs${path}`)).status).toBe(404)
    }
  })
})

describe('actions', () => {
  test('our own page may', async () => {
    const answer = await open().post('/api/actions/delete-dead', { ids: [ids[0]] })
    expect([answer.status, await answer.json()]).toEqual([200, { jobs: 1 }])
    expect(await remaining()).toBe(2)
  })

  // Mutants: each of the three checks left out; nothing heard of it.
  test.each([
    ['another origin', { origin: 'https://evil.test' }],
    ['another port', { origin: `https://${HOST}:8443` }],
    ['no origin', { origin: undefined }],
    ['an origin that is hidden', { origin: 'null' }],
    ['another site', { 'sec-fetch-site': 'cross-site' }],
    ['a subdomain', { 'sec-fetch-site': 'same-site' }],
    ['no token', { 'x-pgq-token': undefined }],
    ['a wrong token', { 'x-pgq-token': 'guessed' }],
    ['no cookie', { cookie: undefined }],
  ])('%s may not, and is audited', async (_what, headers) => {
    const events: AuditEvent[] = []
    const { post } = open({ onAudit: (event) => void events.push(event) })
    expect((await post('/api/actions/delete-dead', { ids }, headers)).status).toBe(403)
    expect(await remaining()).toBe(3)
    expect(events).toMatchObject([{ user: 'ada', action: 'delete-dead', target: {}, outcome: 'denied' }])
  })

  test('a proxy that changes the host is told so, with what to do', async () => {
    const { post } = open()
    const answer = await post('/api/actions/delete-dead', { ids }, { host: '10.0.0.7:3000' })
    expect([answer.status, await answer.json()]).toEqual([
      403,
      {
        error: `The page is at "${HOST}", but this side is asked for the host "10.0.0.7:3000". When that is a proxy's doing, let it pass the Host header; nginx: proxy_set_header Host $http_host.`,
      },
    ])
  })

  test('a GET changes nothing', async () => {
    expect((await open().get(`/api/actions/delete-dead?ids=${ids[0]}`)).status).toBe(404)
    expect(await remaining()).toBe(3)
  })

  // Mutants: a permission asked of another action; nothing heard of a refusal.
  test('each takes its permission; what is refused is audited too', async () => {
    const actions = {
      'run-now': 'run-now',
      cancel: 'cancel',
      'delete-waiting': 'delete',
      'delete-dead': 'delete',
      'set-priority': 'set-priority',
      redrive: 'redrive',
      'pause-queue': 'pause',
      'resume-queue': 'pause',
      'run-schedule': 'run-now',
      'pause-schedule': 'pause',
      'resume-schedule': 'pause',
      'remove-schedule': 'delete',
    } as const
    for (const [action, permission] of Object.entries(actions)) {
      const events: AuditEvent[] = []
      const allow = PERMISSIONS.filter((other) => other !== permission)
      const { post } = open({ allow: () => allow, onAudit: (event) => void events.push(event) })
      expect((await post(`/api/actions/${action}`, { ids })).status).toBe(403)
      expect(events).toMatchObject([{ user: 'ada', action, target: { ids }, outcome: 'denied' }])
    }
    expect(await remaining()).toBe(3)
  })

  test('nothing is allowed unless it was said', async () => {
    const { get, post } = open({ allow: undefined as never })
    expect(await (await get('/api/session')).json()).toMatchObject({ permissions: [] })
    expect((await post('/api/actions/redrive', { ids })).status).toBe(403)
  })

  test.each([
    ['no filter', {}],
    ['no JSON', 'ids'],
    ['a list', '[]'],
    ['ids that are none', { ids: ['1; drop table pgq.jobs'] }],
    ['a condition that does not exist', { ids: ['1'], everything: true }],
    ['a body that is too large', JSON.stringify({ ids: Array(100_000).fill('1234567890') })],
  ])('%s is refused, and audited', async (_what, body) => {
    const events: AuditEvent[] = []
    const onAudit = (event: AuditEvent) => void events.push(event)
    expect((await open({ onAudit }).post('/api/actions/delete-dead', body)).status).toBe(400)
    expect(events).toMatchObject([{ user: 'ada', action: 'delete-dead', outcome: 'failed', jobs: 0 }])
    // Mutant: the body is looked at first.
    expect((await open({ onAudit, allow: [] }).post('/api/actions/delete-dead', body)).status).toBe(403)
    expect(events.slice(1)).toMatchObject([{ action: 'delete-dead', outcome: 'denied' }])
    expect(await remaining()).toBe(3)
  })

  // Mutants: a rejection that nobody catches ends the process, and this run; one try around both.
  test.each([
    [
      'throws',
      () => {
        throw new Error('disk full')
      },
    ],
    ['rejects', async () => Promise.reject(new Error('disk full'))],
  ])('an audit that %s takes nothing back, and is logged', async (_how, onAudit) => {
    const logged: string[] = []
    const log = (_fields: object, message: string) => void logged.push(message)
    const { post } = open({ onAudit, logger: { info: log, error: log } })
    expect(await (await post('/api/actions/redrive', { ids })).json()).toEqual({ jobs: 3 })
    await expect.poll(() => logged).toEqual(['dashboard: redrive done', 'dashboard: onAudit failed'])
  })

  test('a logger that throws keeps neither the audit nor an answer back', async () => {
    const events: AuditEvent[] = []
    const log = () => {
      throw new Error('disk full')
    }
    const { get, post } = open({ onAudit: (event) => void events.push(event), logger: { info: log, error: log } })
    expect((await post('/api/actions/redrive', { ids })).status).toBe(200)
    expect(events).toMatchObject([{ action: 'redrive', outcome: 'done' }])
    await pool.query('alter table pgq.workers rename to away')
    onTestFinished(async () => void (await pool.query('alter table pgq.away rename to workers')))
    expect((await get('/api/workers')).status).toBe(503)
  })
})

// What a time limit of 2 s is for is one statement: 10,000 jobs with args of 20 KB take longer.
describe('an action on many jobs', () => {
  const buryMore = (jobs: number) => bury(pool, [['mail', 'default', 'failed', 'Error', () => 'no', jobs]])
  const act = async (name: string) => {
    const events: AuditEvent[] = []
    const { post } = open({ onAudit: (event) => void events.push(event) })
    const answer = await post(`/api/actions/${name}`, { task: 'mail' })
    return { answer: await answer.json(), events }
  }
  /** Before so many rows of a table go in one statement, it is refused. */
  const refuseFrom = async (condition: string) => {
    await pool.query(`
      create function pgq.refuse() returns trigger language plpgsql as $$
      begin
        if ${condition} then raise 'too many'; end if;
        return null;
      end $$;
      create trigger refuse after delete on pgq.dead_jobs referencing old table as gone
      for each statement execute function pgq.refuse()`)
    onTestFinished(async () => void (await pool.query('drop function pgq.refuse cascade')))
  }

  // Mutants: all in one statement; on and on.
  test('goes in batches, to 10,000 at most', async () => {
    await buryMore(10_497)
    await refuseFrom('(select count(*) from gone) > 1000')
    expect(await act('delete-dead')).toMatchObject({
      answer: { jobs: 10_000 },
      events: [{ outcome: 'done', jobs: 10_000 }],
    })
    expect(await act('delete-dead')).toMatchObject({ answer: { jobs: 500 } })
  })

  test('that fails halfway says what was done before', async () => {
    await buryMore(2_000)
    await refuseFrom('(select count(*) from gone) < 1000')
    expect(await act('delete-dead')).toMatchObject({
      answer: { error: '2,000 jobs were changed; then: The database could not answer: too many' },
      events: [{ outcome: 'failed', jobs: 2_000 }],
    })
    expect(await remaining()).toBe(3)
  })

  // Mutant: a second batch that takes what the first has brought back.
  test('hits none twice that comes back meanwhile', async () => {
    await buryMore(1_497)
    await pool.query(`
      create function pgq.die_again() returns trigger language plpgsql as $$
      begin
        delete from pgq.jobs where id = new.id;
        insert into pgq.dead_jobs (id, queue, task, attempt) values (new.id, new.queue, new.task, 99);
        return null;
      end $$;
      create trigger die_again after insert on pgq.jobs for each row execute function pgq.die_again()`)
    onTestFinished(async () => void (await pool.query('drop function pgq.die_again cascade')))
    expect(await act('redrive')).toMatchObject({ answer: { jobs: 1_500 } })
    expect((await pool.query('select distinct attempt from pgq.dead_jobs')).rows).toEqual([{ attempt: 99 }])
  })
})

test.each(['run-schedule', 'pause-schedule', 'resume-schedule', 'remove-schedule'])(
  '%s of what is no name is refused, and of none changes nothing',
  async (action) => {
    const events: AuditEvent[] = []
    const { post } = open({ onAudit: (event) => void events.push(event) })
    for (const target of [{}, { schedule: '' }, { schedule: 17 }, { ids }]) {
      expect((await post(`/api/actions/${action}`, target)).status).toBe(400)
    }
    const answer = await post(`/api/actions/${action}`, { schedule: 'nightly' })
    expect([answer.status, await answer.json()]).toEqual([200, { jobs: 0 }])
    expect(events.map(({ outcome }) => outcome)).toEqual(['failed', 'failed', 'failed', 'failed', 'done'])
  },
)

describe('args', () => {
  beforeEach(() =>
    pool.query(`update pgq.dead_jobs set args = $1`, [
      '{"card": {"number": "4242", "brand": "visa"}, "items": [{"secret": 1, "n": 2}], "__proto__": {"password": 3}}',
    ]),
  )
  const argsOf = async (options: Partial<DashboardOptions>) =>
    JSON.stringify(((await (await open(options).get(`/api/jobs/${ids[0]}`)).json()) as { args?: unknown }).args)

  test('are shown to who may see them, without what is hidden', async () => {
    expect(await argsOf({ allow: ['view-args'], redact: ['card.number', 'items.*.secret', '**.password'] })).toBe(
      '{"card":{"number":"[redacted]","brand":"visa"},"items":[{"secret":"[redacted]","n":2}],"__proto__":{"password":"[redacted]"}}',
    )
    expect(await argsOf({ allow: ['view-args'], redact: ['card'] })).toContain('"card":"[redacted]"')
  })

  // Mutants: a path that ends in ** hides nothing; args that are no object are shown.
  test('are hidden whole by what ends in **', async () => {
    const all = { allow: ['view-args'] } as const
    expect(await argsOf({ ...all, redact: ['card.**'] })).toContain('"card":"[redacted]","items":[{')
    expect(await argsOf({ ...all, redact: ['items.*.**'] })).toContain('"items":["[redacted]"]')
    expect(await argsOf({ ...all, redact: ['**'] })).toBe('"[redacted]"')
    await pool.query(`update pgq.dead_jobs set args = '"4242"'`)
    expect(await argsOf({ ...all, redact: ['**.number'] })).toBe('"4242"')
    expect(await argsOf({ ...all, redact: ['**'] })).toBe('"[redacted]"')
  })

  test('a key that holds a dot is met by *', async () => {
    await pool.query(`update pgq.dead_jobs set args = '{"card.number": "4242", "card": 1}'`)
    expect(await argsOf({ allow: ['view-args'], redact: ['card.number'] })).toBe('{"card.number":"4242","card":1}')
    expect(await argsOf({ allow: ['view-args'], redact: ['*'] })).not.toContain('4242')
  })

  // Mutant: args in a list.
  test('are in no list, and not shown to who may not', async () => {
    expect(await argsOf({ allow: ['delete'] })).toBeUndefined()
    for (const path of ['/api/jobs?state=dead', '/api/dead-letters', '/api/workers', '/api/overview']) {
      expect(await (await open().get(path)).text()).not.toContain('4242')
    }
  })
})

describe('args of a schedule', () => {
  const task = defineTask('mail', { args: typed<{ card: { number: string; brand: string } }>() })
  const argsOf = async (name: string, options: Partial<DashboardOptions>) => {
    const answer = await open(options).get(`/api/schedule?${new URLSearchParams({ name })}`)
    const { schedule } = (await answer.json()) as { schedule: { name: string; args?: unknown } }
    expect(schedule.name).toBe(name)
    return schedule.args
  }

  // Mutants: args in the list; a schedule's args without redact; its name as a step in a path.
  test.each(['nightly', '..', 'a/b?c=d#e', '%2e%2e', ' '])('%j: as those of a job', async (name) => {
    await task.schedule(pool, { card: { number: '4242', brand: 'visa' } }, { name, everyMs: 60_000 })
    expect(await argsOf(name, { allow: ['view-args'], redact: ['card.number'] })).toEqual({
      card: { number: '[redacted]', brand: 'visa' },
    })
    expect(await argsOf(name, { allow: ['view-args'] })).toMatchObject({ card: { number: '4242' } })
    expect(await argsOf(name, { allow: ['delete'] })).toBeUndefined()
    expect(await (await open().get('/api/schedules')).text()).not.toContain('4242')
  })

  test('there is none of that name; what is no name is refused', async () => {
    const answer = await open().get('/api/schedule?name=nightly')
    expect([answer.status, await answer.json()]).toEqual([200, {}])
    expect((await open().get('/api/schedule')).status).toBe(400)
  })
})

// Mutants: no permission asked; a search in what is hidden, which finds it letter by letter.
test('args are searched by who sees all of them, and by nobody else', async () => {
  await pool.query(`insert into pgq.jobs (task, args) values ('mail', '{"card": "4242"}'), ('mail', '{"card": "17"}')`)
  onTestFinished(async () => void (await pool.query('delete from pgq.jobs')))
  const search = async (options: Partial<DashboardOptions>) => {
    const { get } = open(options)
    const { searchesArgs } = (await (await get('/api/session')).json()) as { searchesArgs: boolean }
    const answer = await get('/api/jobs?state=ready&text=4242')
    const { jobs } = (await answer.json()) as { jobs?: object[] }
    return [searchesArgs, answer.status, jobs?.length]
  }
  expect(await search({ allow: ['view-args'] })).toEqual([true, 200, 1])
  expect(await search({ allow: PERMISSIONS.filter((one) => one !== 'view-args') })).toEqual([false, 403, undefined])
  expect(await search({ allow: PERMISSIONS, redact: ['card'] })).toEqual([false, 403, undefined])
})

test('a job that two lost workers held is said to run alone; a dead one runs no more', async () => {
  const told = async (id: string) => (await open().get(`/api/jobs/${id}`)).json()
  const { rows } = await pool.query(
    `insert into pgq.jobs (task, crash_count) values ('mail', 1), ('mail', 2) returning id::text`,
  )
  expect(await told(rows[0].id)).not.toHaveProperty('runsAlone')
  expect(await told(rows[1].id)).toMatchObject({ crashCount: 2, runsAlone: true })
  await pool.query('update pgq.dead_jobs set crash_count = 3')
  expect(await told(ids[0]!)).not.toHaveProperty('runsAlone')
})

// Mutant: what the database cannot take is a fault of the database.
test.each([
  ['a character that no text has', 'jobs?state=ready&queue=%00'],
  ['the same, in a count', 'jobs/count?state=dead&task=a%00b'],
  ['a key of no task', 'jobs?state=ready&key=a'],
  ['the same, in a count', 'jobs/count?state=ready&key=a'],
  ['a place beyond all places', 'jobs?state=ready&after=9999999999999999999'],
  ['an instant beyond all instants', 'jobs?state=dead&after=9999-99-99T00:00:00 1'],
  ['an instant that is none', 'jobs?state=scheduled&after=:::::::::::: 1'],
  ['a name of a schedule that no text has', 'schedule?name=a%00b'],
])('%s is a fault of who asks', async (_what, path) => {
  const answer = await open().get(`/api/${path}`)
  expect([answer.status, await answer.json()]).toEqual([400, { error: expect.any(String) }])
})

describe('a slow database', () => {
  // Mutants: no deadline; a question for each page.
  test('is told to the page in time, and not asked twice at once', async () => {
    let asked = 0
    const executor = { query: () => new Promise<{ rows: [] }>(() => asked++) }
    const { get } = open({ executor, questionTimeoutMs: 50 })
    const answers = await Promise.all([get('/api/jobs?state=ready'), get('/api/jobs?state=ready')])
    expect(answers.map(({ status }) => status)).toEqual([503, 503])
    expect(await answers[0]!.json()).toEqual({
      error: 'The database did not answer within 50 ms. The page goes on asking.',
    })
    expect(asked).toBe(1)
  })

  // Mutant: what never answers is waited for by all who ask the same, for ever.
  test('that never answers a question is asked anew in the end', async () => {
    let asked = 0
    const never = new Promise<{ rows: [] }>(() => {})
    const executor = { query: () => (asked++ === 0 ? never : Promise.resolve({ rows: [] })) }
    const { get } = open({ executor, questionTimeoutMs: 20 })
    const status = async () => (await get('/api/jobs?state=ready')).status
    expect(await status()).toBe(503)
    await expect.poll(status).toBe(200)
    expect(asked).toBe(2)
  })

  test('what it says is shown, its detail is not', async () => {
    const executor = {
      query: () => Promise.reject(Object.assign(new Error('canceling statement'), { detail: 'row (secret)' })),
    }
    const text = await (await open({ executor }).get('/api/jobs')).text()
    expect(text).toContain('canceling statement')
    expect(text).not.toContain('secret')
  })

  test('a schema that is not migrated is said so', async () => {
    const answer = await open({ schema: 'elsewhere' }).get('/api/overview')
    expect([answer.status, await answer.text()]).toEqual([503, expect.stringContaining('not migrated')])
  })
})
