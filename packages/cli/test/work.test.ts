import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundleProgram } from '@pgq/config/bundle'
import { afterAll, describe, expect, test } from 'vitest'
import { startPgq } from './pgq-process.js'
import { enqueue, QUEUE, testQueue } from './test-queue.js'

const { env, pool } = await testQueue()
const folder = mkdtempSync(join(tmpdir(), 'pgq-cli-'))
afterAll(() => rmSync(folder, { recursive: true }))

const core = join(import.meta.dirname, '../../core')
const source = join(core, 'src/index.ts')
const HANDLER = `defineTask('send', { queue: '${QUEUE}' }).handle(async ({ number }) => { console.log('sent', number) })`
const ESM = `import { defineTask } from '${await bundleProgram(core, 'src/index.ts')}'`
const CJS = `const { defineTask } = require('${source}')`
const TS = `import { defineTask } from '${source}'`

/** Writes a module, and starts a worker of it. */
function work(name: string, text: string, ...args: string[]) {
  const file = join(folder, name)
  writeFileSync(file, text)
  return startPgq(['work', file, ...args], { env, typescript: !name.endsWith('.mjs') })
}

test.each([
  ['a named export', 'named.mjs', `${ESM}\nexport const handlers = [${HANDLER}]`],
  [
    'options by name',
    'options.mjs',
    `${ESM}\nexport const handlers = [${HANDLER}]\nexport const options = { concurrency: 2 }`,
  ],
  ['a default export', 'default.mjs', `${ESM}\nexport default { handlers: [${HANDLER}], concurrency: 2 }`],
  ['a list as default', 'list.mjs', `${ESM}\nexport default [${HANDLER}]`],
  ['CommonJS', 'common.cjs', `${CJS}\nmodule.exports = { handlers: [${HANDLER}] }`],
  [
    'CommonJS, options by name',
    'options.cjs',
    `${CJS}\nmodule.exports = { handlers: [${HANDLER}], options: { concurrency: 2 } }`,
  ],
  [
    'CommonJS that exports each',
    'each.cjs',
    `${CJS}\nexports.handlers = [${HANDLER}]; exports.options = { concurrency: 2 }`,
  ],
  [
    'CommonJS that exports more',
    'tasks.cjs',
    `${CJS}\nmodule.exports = { mail: defineTask('mail'), handlers: [${HANDLER}] }`,
  ],
  ['CommonJS from a compiler', 'compiled.cjs', `${CJS}\nexports.__esModule = true\nexports.default = [${HANDLER}]`],
  ['TypeScript, with a loader', 'typed.ts', `${TS}\nexport const handlers: unknown[] = [${HANDLER}]`],
])('runs the handlers of %s, and drains', async (_, name, text) => {
  await enqueue(pool, 1)
  const worker = work(name, text)
  await worker.printed(/sent 1/)
  worker.signal('SIGTERM')
  const { code, stderr } = await worker.ended
  expect(stderr).toMatch(/INFO worker started workerId=\d+/)
  expect(stderr).toMatch(/INFO worker stopped/)
  expect(code).toBe(0)
})

test.each([
  ['exports nothing', 'export {}', 'must export its handlers'],
  ['exports something else', 'export const tasks = []', 'It exports tasks.'],
  ['throws', `throw new Error('no config')`, 'could not be loaded. Error: no config'],
  ['imports what is not there', `import 'nowhere'`, `Cannot find package 'nowhere'`],
  ['has two handlers for a task', `${ESM}\nexport default [${HANDLER}, ${HANDLER}]`, 'two handlers for task "send"'],
])('a module that %s is refused', async (_, text, said) => {
  const { code, stderr } = await work('wrong.mjs', text).ended
  expect(stderr).toContain(said)
  expect(code).toBeGreaterThan(0)
})

// By Node itself. The schema is checked first. Mutant: a CommonJS module's options are passed over.
test.each([
  ['all together', `module.exports = { mail: {}, handlers: [{}], schema: 'X' }`],
  ['by name', `exports.mail = {}; exports.handlers = [{}]; exports.options = { schema: 'X' }`],
  ['at once, by name', `module.exports = { mail: {}, handlers: [{}], options: { schema: 'X' } }`],
])('CommonJS gives its options %s', async (_, text) => {
  writeFileSync(join(folder, 'given.cjs'), text)
  const { code, stderr } = await startPgq(['work', join(folder, 'given.cjs')], { env }).ended
  expect(stderr).toContain('schema "X" is not allowed')
  expect(code).toBe(2)
})

test('logs pino’s JSON, and what the command line says goes before the module', async () => {
  await enqueue(pool, 1, { queue: 'other' })
  const text = `${ESM}\nexport default { handlers: [${HANDLER}], queues: ['none'], concurrency: 3, handleSignals: false }`
  const worker = work('flags.mjs', text, '--json', '--queue', 'other', '--queue', QUEUE, '--log-level', 'debug')
  await worker.printed(/sent 1/)
  expect((await pool.query('select queues from pgq.workers')).rows[0].queues).toEqual(['other', QUEUE])
  worker.signal('SIGINT')
  const { code, stderr } = await worker.ended
  const lines = stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(lines[0]).toMatchObject({
    level: 30,
    msg: 'worker started',
    pid: expect.any(Number),
    time: expect.any(Number),
  })
  expect(lines).toContainEqual(expect.objectContaining({ level: 20, msg: 'job completed', task: 'send' }))
  expect(code).toBe(0)
})

// Mutant: lines that hold what jobs throw as it is.
test('what a handler throws cannot steer the terminal that shows the log', async () => {
  await enqueue(pool, 1)
  const thrower = `defineTask('send', { queue: '${QUEUE}' }).handle(() => { throw new Error('a\\u001b[2Jb\\u009bc') })`
  const worker = work('throws.mjs', `${ESM}\nexport const handlers = [${thrower}]`)
  await worker.printed(/a\\u001b\[2Jb\\u009bc/)
  worker.signal('SIGTERM')
  expect((await worker.ended).stderr).not.toContain('\u001b')
})

// Mutants: the process ends at once, and its job runs again elsewhere; what is logged while it drains ends it; 0 at the end.
test.each(['stdout', 'stderr'] as const)('when nobody reads its %s any more, it drains', async (stream) => {
  await enqueue(pool, 1)
  const text = `${ESM}
export const handlers = [defineTask('send', { queue: '${QUEUE}' }).handle(async () => {
  process.${stream === 'stdout' ? 'stderr' : 'stdout'}.write('begun\\n')
  let isRead = true
  process.${stream}.once('error', () => { isRead = false })
  for (; isRead; await new Promise((resolve) => setTimeout(resolve, 10))) process.${stream}.write('is anybody there?\\n')
})]`
  writeFileSync(join(folder, 'unread.mjs'), text)
  const worker = startPgq(['work', join(folder, 'unread.mjs')], { env })
  await worker.printed(/begun/)
  worker.child[stream]!.destroy()
  expect((await worker.ended).code).toBe(141)
  expect((await pool.query('select from pgq.job_states')).rowCount).toBe(0)
})

describe('Ctrl-C', () => {
  const slow = `${ESM}
export const handlers = [defineTask('send', { queue: '${QUEUE}' }).handle(async (_, job) => {
  console.log('begun')
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('data', resolve))
  console.log('ended')
})]`

  // Mutants: the command ends before its worker; a pool of the module's keeps it alive for ever.
  test('lets a handler end, and the process ends though the module holds it open', async () => {
    await enqueue(pool, 1)
    writeFileSync(join(folder, 'slow.mjs'), `${slow}\nsetInterval(() => {}, 1_000)`)
    const worker = startPgq(['work', join(folder, 'slow.mjs')], { env, input: '' })
    await worker.printed(/begun/)
    worker.signal('SIGINT')
    await worker.printed(/worker stopping/)
    worker.child.stdin!.write('go on\n')
    const { code, stdout } = await worker.ended
    expect(stdout).toBe('begun\nended\n')
    expect(code).toBe(0)
    expect((await pool.query('select from pgq.job_states')).rowCount).toBe(0)
  })

  test('twice ends it at once', async () => {
    await enqueue(pool, 1)
    writeFileSync(join(folder, 'slow.mjs'), slow)
    const worker = startPgq(['work', join(folder, 'slow.mjs')], { env, input: '' })
    await worker.printed(/begun/)
    worker.signal('SIGINT')
    await worker.printed(/worker stopping/)
    worker.signal('SIGINT')
    expect((await worker.ended).code).toBe(130)
  })
})

// As a .ts file is to a Node without a loader.
test('a file that Node cannot load is told how', async () => {
  const { code, stderr } = await work('tasks.unknown', '').ended
  expect(stderr).toContain("NODE_OPTIONS='--import tsx'")
  expect(code).toBe(2)
})

test('a database that is not there is said at once', async () => {
  writeFileSync(join(folder, 'fine.mjs'), `${ESM}\nexport const handlers = [${HANDLER}]`)
  const args = ['work', join(folder, 'fine.mjs'), '--database-url', 'postgres://127.0.0.1:1/x']
  const { code, stderr } = await startPgq(args, { env }).ended
  expect(stderr).toMatch(/^pgq: No PostgreSQL answers at 127\.0\.0\.1:1/)
  expect(code).toBe(1)
})
