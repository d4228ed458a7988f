import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, delimiter, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { workspaces } from '@pgq/config/workspaces'
import { runProgram } from './program.js'
import type { Manifest, Registry } from './registry.js'
import { temporaryFolder } from './temporary-folder.js'

const root = fileURLToPath(new URL('../../..', import.meta.url))

/** Everything that is to be published: the names of the folders in packages/. */
export const packageFolders: readonly string[] = readdirSync(join(root, 'packages')).sort()

/** The commands that the packages bring. */
export const commands: readonly string[] = packageFolders.flatMap((folder) =>
  Object.keys(readJson(join(root, 'packages', folder, 'package.json')).bin ?? {}),
)

/** One package, published. */
export interface Published extends Manifest {
  /** The path of the file that the registry has. */
  readonly tarball: string
  /** The version before the release. */
  readonly before: string
  /** The text of its CHANGELOG.md. */
  readonly changelog: string
}

/** A change of one package, as a contributor notes it; larger than what else may be noted, for all packages, at this time. */
export const noted = { package: '@pgq/core', bump: 'major', sentence: 'A sentence that no other changelog has.' }

/**
 * What a release does, `changeset version` and `changeset publish`, in a copy of the built packages, with one more change
 * noted. Answers what the registry has then, in the order of packageFolders.
 */
export async function publishAll(registry: Registry): Promise<Published[]> {
  const copy = temporaryFolder('release')
  copyRepository(copy)
  writeFileSync(join(copy, '.npmrc'), registry.npmrc)
  writeFileSync(
    join(copy, '.changeset/noted-by-a-test.md'),
    `---\n'${noted.package}': ${noted.bump}\n---\n\n${noted.sentence}\n`,
  )
  await release(copy, registry)
  return Promise.all(packageFolders.map((folder) => lookUp(registry, copy, `packages/${folder}`)))
}

function copyRepository(copy: string): void {
  for (const file of ['package.json', 'pnpm-workspace.yaml', 'pnpm-lock.yaml', '.changeset', 'packages']) {
    // Neither a package's sources nor its tests matter: what was built is what is published.
    cpSync(join(root, file), join(copy, file), { recursive: true, filter: (path) => !leftOut.has(basename(path)) })
  }
  const all = workspaces(root)
  // The private ones too: a release must leave their versions alone, and not publish them.
  for (const { folder } of all) copyFile(copy, join(folder, 'package.json'))
  for (const folder of packageFolders) {
    const at = join(copy, 'packages', folder)
    if (!existsSync(join(at, 'dist'))) {
      throw new Error(
        `packages/${folder}/dist is missing, and what was built is what is published: npm run build first.`,
      )
    }
    // What an install would put there: pnpm looks up the versions that workspace:^ and workspace:* stand for.
    for (const other of all) link(join(copy, other.folder), join(at, 'node_modules', other.name))
  }
}

const leftOut = new Set(['node_modules', 'src', 'test', '.turbo'])

function copyFile(copy: string, file: string): void {
  mkdirSync(dirname(join(copy, file)), { recursive: true })
  cpSync(join(root, file), join(copy, file))
}

function link(target: string, path: string): void {
  mkdirSync(dirname(path), { recursive: true })
  symlinkSync(target, path)
}

/** The steps of `npm run version-packages` and `npm run release`. */
async function release(copy: string, registry: Registry): Promise<void> {
  const env = {
    PATH: [withoutGit(copy), await pathWithPnpm(copy)].join(delimiter),
    npm_config_cache: join(copy, '.npm'),
    // changesets reads no .npmrc.
    'npm_config_@pgq:registry': registry.url,
    GITHUB_SERVER_URL: 'https://github.com',
    GITHUB_REPOSITORY: 'somebody/something',
  }
  const step = (program: string, ...args: string[]) =>
    runProgram(process.execPath, [join(root, program), ...args], { cwd: copy, env })
  await step('node_modules/@changesets/cli/bin.js', 'version')
  await step('tooling/publish/src/name-repository.mjs')
  await step('node_modules/@changesets/cli/bin.js', 'publish', '--no-git-tag')
}

/** changesets asks git for the commits of the changes. The copy has none, and this machine may have no git. */
function withoutGit(copy: string): string {
  const folder = join(copy, 'no-git')
  mkdirSync(folder)
  writeFileSync(join(folder, 'git'), '#!/bin/sh\n', { mode: 0o755 })
  return folder
}

/** npx has the pinned pnpm on its PATH, be it installed here or not. */
async function pathWithPnpm(cwd: string): Promise<string> {
  const args = [
    '--yes',
    `--package=${readJson(join(root, 'package.json')).packageManager}`,
    '--call=node -p process.env.PATH',
  ]
  return (await runProgram('npx', args, { cwd })).trim().split('\n').at(-1) as string
}

async function lookUp(registry: Registry, copy: string, folder: string): Promise<Published> {
  const { name, version } = readJson(join(copy, folder, 'package.json'))
  return {
    ...(await registry.manifest(name, version)),
    tarball: registry.tarball(name, version),
    before: readJson(join(root, folder, 'package.json')).version,
    changelog: readFileSync(join(copy, folder, 'CHANGELOG.md'), 'utf8'),
  }
}

function readJson(file: string) {
  return JSON.parse(readFileSync(file, 'utf8'))
}
