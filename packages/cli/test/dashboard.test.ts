import { expect, test } from 'vitest'
import { startPgq } from './pgq-process.js'
import { bury, testQueue } from './test-queue.js'

const { env, pool } = await testQueue()

test('serves the page to this machine, read-only, until Ctrl-C', async () => {
  await bury(pool, 1)
  const serving = startPgq(['dashboard', '--port', '0'], { env })
  const [, address] = await serving.printed(/The dashboard is at (http:\/\/127\.0\.0\.1:\d+)\./)
  const page = await fetch(`${address}/`)
  expect(page.status).toBe(200)
  expect(await page.text()).toContain('<title>')
  serving.signal('SIGINT')
  expect((await serving.ended).code).toBe(0)
})

// Mutant: a password that is not passed on.
test('asks for the password of the environment', async () => {
  const password = { PGQ_DASHBOARD_USER: 'ada', PGQ_DASHBOARD_PASSWORD: 'pass:word' }
  const args = ['dashboard', '--port', '0', '--host', '0.0.0.0', '--allow', 'all', '--json']
  const serving = startPgq(args, { env: { ...env, ...password } })
  const [line] = await serving.printed(/\{.*\}/)
  const url = new URL(JSON.parse(line).url)
  url.hostname = '127.0.0.1'
  expect((await fetch(url)).status).toBe(401)
  const authorization = `Basic ${Buffer.from('ada:pass:word').toString('base64')}`
  expect((await fetch(url, { headers: { authorization } })).status).toBe(200)
  serving.signal('SIGTERM')
  expect((await serving.ended).code).toBe(0)
})

// Mutant: the class of what is logged, which is Object, for the name of the error.
test('logs what went wrong in words', async () => {
  const serving = startPgq(['dashboard', '--port', '0'], { env })
  const [, address] = await serving.printed(/The dashboard is at (\S+)\./)
  await pool.query('alter table pgq.job_stats rename to job_stats_away')
  try {
    expect((await fetch(`${address}/api/statistics`)).status).toBe(503)
  } finally {
    await pool.query('alter table pgq.job_stats_away rename to job_stats')
  }
  serving.signal('SIGINT')
  expect((await serving.ended).stderr).toMatch(/ERROR dashboard: a question failed\nNotMigratedError: /)
})

test.each<[string, string[], Record<string, string>, string]>([
  ['open to a network', ['--host', '0.0.0.0'], {}, 'Set PGQ_DASHBOARD_USER and PGQ_DASHBOARD_PASSWORD'],
  ['with half a password', [], { PGQ_DASHBOARD_USER: 'ada' }, 'go together'],
  ['with a permission that there is not', ['--allow', 'everything'], {}, 'allow names everything'],
  ['with a password on the command line', ['--password', 'x'], {}, 'unknown option'],
])('is not served %s', async (_, args, more, said) => {
  const { code, stderr } = await startPgq(['dashboard', '--port', '0', ...args], { env: { ...env, ...more } }).ended
  expect(stderr).toContain(said)
  expect(code).toBe(2)
})

// Mutant: anything that the system says is a lost database.
test.each(['192.0.2.1', 'nowhere.invalid'])(
  'where it cannot listen, at %s, it says whose fault that is',
  async (host) => {
    const password = { PGQ_DASHBOARD_USER: 'ada', PGQ_DASHBOARD_PASSWORD: 'pass:word' }
    const { code, stderr } = await startPgq(['dashboard', '--host', host], { env: { ...env, ...password } }).ended
    expect(stderr).toMatch(/^pgq: .*\. Choose an address of this machine: --host\.\n$/)
    expect(code).toBe(1)
  },
)
