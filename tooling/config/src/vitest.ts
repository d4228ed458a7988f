import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import type { TestProjectConfiguration } from 'vitest/config'

interface Workspace {
  readonly name: string
  readonly folder: string
  /** By subpath: what the package exports. */
  readonly exports: Readonly<Record<string, unknown>>
}

const workspaceFolders = ['packages', 'apps', 'tooling']
const isTest = (file: string) => /\.test\.ts$/.test(file)
const isTypeTest = (file: string) => /\.test-d\.ts$/.test(file)

/** One project for each package that has tests; type tests are checked with the package's own tsconfig.json. */
export function testProjects(root: string): TestProjectConfiguration[] {
  return workspaces(root).flatMap(({ name, folder }) => {
    const tests = filesIn(join(folder, 'test'))
    if (!tests.some((file) => isTest(file) || isTypeTest(file))) return []
    const hasTypeTests = tests.some(isTypeTest)
    return {
      root: folder,
      resolve: { alias: packageAliases(root) },
      test: {
        name,
        include: ['test/**/*.test.ts'],
        environment: 'node',
        testTimeout: 15_000,
        hookTimeout: 30_000,
        typecheck: {
          enabled: hasTypeTests,
          include: ['test/**/*.test-d.ts'],
          tsconfig: join(folder, 'tsconfig.json'),
          // The typecheck step reports those; here only what a test promises counts.
          ignoreSourceErrors: true,
        },
      },
    }
  })
}

/** The packages' names and subpaths to their sources, so that tests need no build, and coverage is of what people wrote. */
export function packageAliases(root: string): { find: RegExp; replacement: string }[] {
  return workspaces(root)
    .filter(({ folder }) => folder.startsWith(join(root, 'packages')))
    .flatMap(({ name, folder, exports }) =>
      Object.keys(exports)
        .filter((subpath) => !subpath.endsWith('.json'))
        .map((subpath) => ({
          find: new RegExp(`^${name}${subpath.slice(1)}$`),
          replacement: join(folder, 'src', `${subpath === '.' ? 'index' : basename(subpath)}.ts`),
        })),
    )
}

function workspaces(root: string): Workspace[] {
  return workspaceFolders
    .flatMap((parent) => filesIn(join(root, parent)).map((child) => join(root, parent, child)))
    .filter((folder) => existsSync(join(folder, 'package.json')))
    .map((folder) => {
      const { name, exports = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
      return { name, folder, exports }
    })
}

function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}
