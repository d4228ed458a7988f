import { testDatabase } from '@pgq/test-db'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type EmptyProject, emptyProject } from './empty-project.js'
import { commands, type Published, publishAll } from './publish-all.js'
import { startRegistry } from './registry.js'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const database = await testDatabase({ migrated: false })
const registry = await startRegistry()
let published: Published[]

beforeAll(async () => {
  published = await publishAll(registry)
})

describe('an empty project', () => {
  const project = emptyProject(registry)

  test('with core alone enqueues, as ESM and as CommonJS', async () => {
    const installed = await project.install(at('@pgq/core'), ...pinned('kysely', '@types/node'))
    expect(namesOf(installed)).toEqual(['@pgq/core', '@standard-schema/spec', '@types/node', 'kysely', 'undici-types'])

    project.copy('core-alone.ts', 'core-alone.mts')
    project.copy('core-alone.ts', 'core-alone.cts')
    await project.compile('typescript')
    await project.compile('typescript-7')

    const printed = [expect.stringContaining('select "pgq"."enqueue"'), '{"status":"inserted","id":"1"}']
    expect(await project.node('core-alone.mjs')).toEqual(printed)
    expect(await project.node('core-alone.cjs')).toEqual(printed)
  })

  test('with the worker added migrates, enqueues and runs a job, as ESM and as CommonJS', async () => {
    const installed = await project.install(at('@pgq/worker'), at('@pgq/migrations'), ...pinned('pg', '@types/pg'))
    expect(installed.filter(({ hasInstallScript }) => hasInstallScript)).toEqual([])

    project.copy('work.ts', 'work.mts')
    project.copy('work.ts', 'work.cts')
    await project.compile('typescript')
    await project.compile('typescript-7')
    await expectWork(project)
  })
})

// Mutants: a brand that is an instanceof, and a registry of sinks that is each copy's own.
test('a CommonJS application is tested by an ESM test: two copies of core are one queue', async () => {
  const project = emptyProject(registry)
  await project.install(at('@pgq/core'), at('@pgq/eager'), ...pinned('kysely', '@types/node'))
  project.copy('app.cts')
  project.copy('test-of-app.mts')
  await project.compile('typescript-7')
  expect(await project.node('test-of-app.mjs')).toEqual(['{"name":"nobody"} dead cancelled', '{"name":1} dead failed'])
})

type ChooseVersion = (peer: { readonly name: string; readonly range: string }) => string

const peerVersions: [string, ChooseVersion][] = [
  ['the versions that it is developed with', ({ name }) => pinOf(name)],
  ['the oldest versions that it allows', ({ range }) => `${/\d+(\.\d+)*/.exec(range)?.[0]}`],
]
// Development stays with 0.28 for as long as Node 20 is supported.
if (Number.parseInt(process.versions.node, 10) >= 22) {
  peerVersions.push(['the newest kysely that it allows', ({ name }) => (name === 'kysely' ? '0.29.9' : pinOf(name))])
}

describe.each(peerVersions)('every package, with its peers in %s', (_, choose) => {
  const project = emptyProject(registry)
  let entries: string[]

  beforeAll(async () => {
    const peers: Record<string, string> = Object.assign({}, ...published.map((one) => one.peerDependencies))
    const installed = await project.install(
      ...published.map(({ name }) => at(name)),
      ...Object.entries(peers).map(([name, range]) => `${name}@${choose({ name, range })}`),
      ...pinned('@types/node'),
    )
    expect(installed.filter(({ hasInstallScript }) => hasInstallScript)).toEqual([])
    entries = published.flatMap(({ name, exports }) =>
      Object.keys(exports)
        .filter((subpath) => !subpath.endsWith('.json'))
        .map((subpath) => name + subpath.slice(1)),
    )
    for (const format of ['mts', 'cts']) {
      project.copy('work.ts', `work.${format}`)
      project.write(`entries.${format}`, namesOfExports(entries))
    }
    await project.compile('typescript-7')
  })

  test('exports the same from import and from require', async () => {
    const exported = await project.node('entries.mjs')
    expect(exported).toHaveLength(entries.length)
    for (const line of exported) expect(line).toMatch(/\["\w+"/)
    expect(await project.node('entries.cjs')).toEqual(exported)
  })

  test('runs a job', () => expectWork(project))

  test.each(commands)('has a command %s', async (command) => {
    expect(await project.command(command, '--help')).toContain(command)
    expect(await project.command(command, '--version')).toBe(`${published[0]!.version}\n`)
  })

  // The command is ESM; what it loads brings a core of its own kind.
  test.each([
    ['ESM', 'tasks.mjs', `import { defineTask } from '@pgq/core'\nimport pg from 'pg'\nexport { handlers }`],
    ['CommonJS', 'tasks.cjs', `const { defineTask } = require('@pgq/core')\nconst pg = require('pg')`],
  ])('pgq runs a worker of a module in %s', async (_, file, imports) => {
    project.write(file, `${imports}\n${ONE_JOB}\n${file.endsWith('.cjs') ? 'module.exports = { handlers }' : ''}`)
    const where = ['--database-url', database.url]
    await project.command('pgq', 'migrate', ...where)
    expect(await project.command('pgq', 'work', file, ...where)).toBe('hello\n')
    await project.command('pgq', 'migrate', '--down', '0', '--yes', ...where)
  })
})

/** Enqueues a job, and stops the worker that runs it. The database is the last argument. */
const ONE_JOB = `
const hello = defineTask('say-hello')
const handlers = [hello.handle(() => { console.log('hello'); process.kill(process.pid, 'SIGTERM') })]
hello.enqueue(new pg.Pool({ connectionString: process.argv.at(-1) }), {})`

async function expectWork(project: EmptyProject): Promise<void> {
  for (const program of ['work.mjs', 'work.cjs']) {
    expect(await project.node(program, { DATABASE_URL: database.url }), program).toEqual([
      '"migrated" 0',
      '"hello" "world" 1',
      '"greet" "success"',
      '"migrated" 0',
    ])
  }
}

/** Prints the names that each entry point exports, a line for each. */
const namesOfExports = (entries: readonly string[]): string =>
  [
    ...entries.map((entry, index) => `import * as entry${index} from '${entry}'`),
    ...entries.map((entry, index) => `console.log('${entry}', JSON.stringify(Object.keys(entry${index}).sort()))`),
  ].join('\n')

const at = (name: string): string => `${name}@${published.find((one) => one.name === name)!.version}`

const pinned = (...names: string[]): string[] => names.map((name) => `${name}@${pinOf(name)}`)

/** The version that our packages are developed and tested with. */
function pinOf(name: string): string {
  const pins = published.map(({ devDependencies = {} }) => devDependencies[name]).filter((pin) => pin !== undefined)
  if (pins.length === 0)
    throw new Error(`No package has ${name} in its devDependencies: which version is to be tested?`)
  return pins[0] as string
}

const namesOf = (installed: readonly { name: string }[]): string[] => installed.map(({ name }) => name).sort()
