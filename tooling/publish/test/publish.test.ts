import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core'
import { testDatabase } from '@pgq/test-db'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { type EmptyProject, emptyProject } from './empty-project.js'
import { runProgram } from './program.js'
import { commands, noted, type Published, packageFolders, publishAll } from './publish-all.js'
import { startRegistry } from './registry.js'

vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 })

const here = fileURLToPath(new URL('.', import.meta.url))
const database = await testDatabase({ migrated: false })
const registry = await startRegistry()
let published: Published[]

// Once for all that follows: what is published, and what can be made of it. A release takes most of a minute.
beforeAll(async () => {
  published = await publishAll(registry)
})

test('a release publishes every package in packages/, and none of the private ones', () => {
  expect(registry.packages().sort()).toEqual(published.map(({ name }) => name).sort())
  expect(published.length).toBeGreaterThanOrEqual(5)
})

// Mutant: the packages leave the fixed group of .changeset/config.json; those that the change does not name stay behind.
test('a noted change of one package raises all of them to the same version', () => {
  const version = published[0]!.version
  expect(published.map((one) => one.version)).toEqual(published.map(() => version))
  for (const one of published) expect(one.version).not.toBe(one.before)
})

test('the change stands in the changelog of its package, under the new version, and in no other', () => {
  for (const { name, version, changelog } of published) {
    expect(changelog).toMatch(new RegExp(`^# ${name}\n\n## ${version.replaceAll('.', '\\.')}\n`))
    expect(changelog.includes(noted.sentence)).toBe(name === noted.package)
  }
})

test('core needs nothing but the types of the standard schema and what reads cron expressions, and kysely beside it', () => {
  const core = published.find(({ name }) => name === '@pgq/core')!
  expect(Object.keys(core.dependencies ?? {})).toEqual(['@standard-schema/spec', 'croner'])
  expect(Object.keys(core.peerDependencies ?? {})).toEqual(['kysely'])
})

/** The programs that are published, and what is in them. */
const programs = () =>
  published.flatMap(({ tarball }) => {
    const files = createPackageFromTarballData(new Uint8Array(readFileSync(tarball)))
    return files
      .listFiles()
      .filter((file) => /\.c?js$/.test(file))
      .map((file) => ({ file, text: files.readFile(file) }))
  })

// Mutants: core without its builtIn; a worker that imports handler-transaction.js as its other files.
test('kysely, of whose files Node opens hundreds, is loaded for transactional handlers alone', () => {
  // Not inside of anything: what is indented is loaded when it is called for.
  const loading = programs().filter(({ text }) => /^\S.*(?:from |import |require\()["']kysely["']/m.test(text))
  expect(loading.map(({ file }) => file)).toEqual([
    expect.stringMatching(/@pgq\/worker\/dist\/handler-transaction-\w+\.js$/),
  ])
})

// Mutant: splitting for CommonJS, too: a compiler for old engines takes \`?.\` and class fields apart, and errors are of the class _class7.
test('what Node 20 knows is left as it is', () => {
  expect(programs().filter(({ text }) => /_optionalChain|_class\d/.test(text))).toEqual([])
})

describe.each(packageFolders.map((folder, index) => ({ folder, index })))('$folder', ({ folder, index }) => {
  // Mutants: a package that is published by npm instead of pnpm, which keeps `workspace:^` as it is.
  test('depends on the others by versions that the registry has', () => {
    const { version, dependencies = {}, peerDependencies = {} } = published[index]!
    const ranges = Object.entries({ ...dependencies, ...peerDependencies })
    for (const [name, range] of ranges) {
      if (name.startsWith('@pgq/')) expect(range, name).toBe(`^${version}`)
      else expect(range, name).toMatch(/^[\^~>=<\d. |-]+$/)
    }
  })

  // Mutants: a package without publishConfig.provenance, or a release that does not name the repository. Nobody could prove
  // where it was built: pnpm would not try, or the registry would refuse it.
  test('can be proved to come from the repository that publishes it', () => {
    const { publishConfig, repository } = published[index]!
    expect(publishConfig).toEqual({ access: 'public', provenance: true })
    expect(repository).toEqual({
      type: 'git',
      url: 'git+https://github.com/somebody/something.git',
      directory: `packages/${folder}`,
    })
  })

  test('says what it is, may be used and needs', () => {
    const { description, keywords, license, engines, sideEffects } = published[index]!
    expect({ license, engines, sideEffects }).toEqual({
      license: 'BSD-2-Clause',
      engines: { node: '>=20' },
      sideEffects: false,
    })
    expect(description).toMatch(/^[A-Z].*\.$/)
    expect(keywords).toEqual(expect.arrayContaining(['postgres', 'queue', 'jobs']))
  })

  test('runs no script when it is installed', () => {
    const scripts = Object.keys(published[index]!.scripts ?? {})
    expect(scripts.filter((name) => /^(pre|post)?install$|^prepare$/.test(name))).toEqual([])
  })

  test('packs exactly the files on its list', async () => {
    await expect(
      await filesIn(published[index]!.tarball),
      `What packages/${folder} publishes has changed. If that is meant: npm run build && npx vitest run --project @pgq/publish -u`,
    ).toMatchFileSnapshot(`packed-files/${folder}.txt`)
  })

  // Mutant: maps as tsup leaves them.
  test('does not tell where it was built', async () => {
    const text = await runProgram('tar', ['-xzOf', published[index]!.tarball], { cwd: here })
    expect(text).toContain('dist')
    expect(text).not.toContain(fileURLToPath(new URL('../../..', import.meta.url)))
  })

  test('has no fault that publint knows', async () => {
    const tarball = new Uint8Array(readFileSync(published[index]!.tarball)).buffer
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true })
    expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([])
  })

  // Not TypeScript's node10 resolution, which knows no subpaths: Node 20 is what we ask for, and TypeScript 7 has dropped it.
  test('has the right types for ESM, for CommonJS and for bundlers, says attw', async () => {
    const { tarball, exports } = published[index]!
    const analysis = await checkPackage(createPackageFromTarballData(new Uint8Array(readFileSync(tarball))))
    expect(analysis.types !== false).toBe(JSON.stringify(exports).includes('"types"'))
    const problems = 'problems' in analysis ? analysis.problems : []
    expect(problems.filter((one) => !('resolutionKind' in one) || one.resolutionKind !== 'node10')).toEqual([])
  })
})

test('no list of files is left over from a package that is gone', () => {
  expect(packageFolders.map((folder) => `${folder}.txt`)).toEqual(
    expect.arrayContaining(readdirSync(`${here}packed-files`)),
  )
})

describe('an empty project', () => {
  const project = emptyProject(registry)

  test('with core alone enqueues, as ESM and as CommonJS', async () => {
    const installed = await project.install(at('@pgq/core'), ...pinned('kysely', '@types/node'))
    expect(namesOf(installed)).toEqual([
      '@pgq/core',
      '@standard-schema/spec',
      '@types/node',
      'croner',
      'kysely',
      'undici-types',
    ])

    project.copy('core-alone.ts', 'core-alone.mts')
    project.copy('core-alone.ts', 'core-alone.cts')
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
    // All four programs.
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

async function filesIn(tarball: string): Promise<string> {
  const names = (await runProgram('tar', ['-tzf', tarball], { cwd: here })).trim().split('\n')
  return names
    .map(nameWithoutHash)
    .sort()
    .map((name) => `${name}\n`)
    .join('')
}

// The bundler names what several entry points share by its content.
const nameWithoutHash = (path: string) =>
  path.replace(/^package\//, '').replace(/-(?=[^.]*[A-Z\d])[\w-]{8}(?=\.(d\.)?[cm]?[jt]s(\.map)?$)/, '-HASH')
