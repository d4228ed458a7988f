import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { beforeAll, describe, expect, test, vi } from 'vitest'
import { runProgram } from './program.js'
import { noted, type Published, packageFolders, publishAll } from './publish-all.js'
import { startRegistry } from './registry.js'

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 })

const here = fileURLToPath(new URL('.', import.meta.url))
const registry = await startRegistry()
let published: Published[]

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

test('core needs nothing but the types of the standard schema, and kysely beside it', () => {
  const core = published.find(({ name }) => name === '@pgq/core')!
  expect(Object.keys(core.dependencies ?? {})).toEqual(['@standard-schema/spec'])
  expect(Object.keys(core.peerDependencies ?? {})).toEqual(['kysely'])
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

  test('has no fault that publint knows', async () => {
    const tarball = new Uint8Array(readFileSync(published[index]!.tarball)).buffer
    const { messages, pkg } = await publint({ pack: { tarball }, strict: true })
    expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([])
  })

  // Not TypeScript's node10 resolution, which knows no subpaths: Node 20 is what we ask for, and TypeScript 7 has dropped it.
  test('has the right types for ESM, for CommonJS and for bundlers, says attw', async () => {
    const attw = fileURLToPath(new URL('../node_modules/@arethetypeswrong/cli/dist/index.js', import.meta.url))
    const args = [
      attw,
      published[index]!.tarball,
      '--profile',
      'node16',
      '--format',
      'ascii',
      '--no-color',
      '--no-emoji',
    ]
    await runProgram(process.execPath, args, { cwd: here })
  })
})

test('no list of files is left over from a package that is gone', () => {
  expect(packageFolders.map((folder) => `${folder}.txt`)).toEqual(
    expect.arrayContaining(readdirSync(`${here}packed-files`)),
  )
})

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
