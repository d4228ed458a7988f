import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from './program.js'
import type { Registry } from './registry.js'
import { temporaryFolder } from './temporary-folder.js'

export const root = fileURLToPath(new URL('../../..', import.meta.url))

export interface Published {
  readonly name: string
  /** Its folder's name. */
  readonly folder: string
  readonly version: string
}

/** What a release does, `changeset version` and `changeset publish`, in a copy of the built packages. */
export async function publishAll(registry: Registry): Promise<Published[]> {
  const copy = temporaryFolder('release')
  copyRepository(copy, registry)
  const env = {
    PATH: await pathWithPnpm(copy),
    NPM_CONFIG_PROVENANCE: 'false',
    npm_config_cache: join(copy, '.npm'),
  }
  const options = { cwd: copy, env: { ...env, 'npm_config_@pgq:registry': registry.url } }
  const changeset = (...args: string[]) =>
    runProgram(process.execPath, [join(root, 'node_modules/@changesets/cli/bin.js'), ...args], options)
  await changeset('version')
  await changeset('publish', '--no-git-tag')
  return packageFolders(copy).map((folder) => {
    const { name, version } = manifestOf(copy, folder)
    return { name, folder, version }
  })
}

function copyRepository(copy: string, registry: Registry): void {
  for (const file of ['package.json', 'pnpm-workspace.yaml', 'pnpm-lock.yaml', '.changeset', 'packages']) {
    // Tests leave nothing in a package, and neither do its sources: what is published is what was built.
    cpSync(join(root, file), join(copy, file), { recursive: true, filter: (path) => !unpublished.has(basename(path)) })
  }
  writeFileSync(join(copy, '.npmrc'), registry.npmrc)
  for (const folder of packageFolders(copy)) {
    if (!existsSync(join(copy, 'packages', folder, 'dist'))) {
      throw new Error(
        `packages/${folder}/dist is missing: this test publishes what was built. Run npm run build first.`,
      )
    }
    linkWorkspace(copy, folder)
  }
}

/** What an install would put there: pnpm looks up the versions that workspace:^ and workspace:* stand for. */
function linkWorkspace(copy: string, folder: string): void {
  const scope = join(copy, 'packages', folder, 'node_modules/@pgq')
  mkdirSync(scope, { recursive: true })
  for (const other of packageFolders(copy)) symlinkSync(join(copy, 'packages', other), join(scope, other))
  for (const tool of readdirSync(join(root, 'tooling'), { withFileTypes: true })) {
    if (tool.isDirectory()) symlinkSync(join(root, 'tooling', tool.name), join(scope, tool.name))
  }
}

const unpublished = new Set(['node_modules', 'test', '.turbo'])

const packageFolders = (repository: string): string[] => readdirSync(join(repository, 'packages')).sort()

const manifestOf = (repository: string, folder: string): { name: string; version: string } =>
  JSON.parse(readFileSync(join(repository, 'packages', folder, 'package.json'), 'utf8'))

/** npx has the pinned pnpm on its PATH, be it installed here or not. */
async function pathWithPnpm(cwd: string): Promise<string> {
  const { packageManager } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const args = ['--yes', `--package=${packageManager}`, '--call=node -p process.env.PATH']
  return (await runProgram('npx', args, { cwd })).trim().split('\n').at(-1) as string
}
