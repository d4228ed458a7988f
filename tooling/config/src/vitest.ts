import { basename, join } from 'node:path'
import type { TestProjectConfiguration } from 'vitest/config'
import { filesIn, type Workspace, workspaces } from './workspaces.js'

/** Their tests are of what pgq is tested and measured with. */
const TOOLS = ['@pgq/battery', '@pgq/bench', '@pgq/config', '@pgq/test-db']

/**
 * One project for each package that has tests, and one for the type tests of all: the compiler reads everything once. In the mode
 * `product` without those of the tools, in the mode `tools` those alone, otherwise all.
 */
export function testProjects(root: string, mode: string): TestProjectConfiguration[] {
  const tested = workspaces(root).filter(
    ({ name, folder }) =>
      mode !== (TOOLS.includes(name) ? 'product' : 'tools') &&
      filesIn(join(root, folder, 'test')).some((file) => file.endsWith('.test.ts')),
  )
  return [...tested.map((workspace) => testsOf(root, workspace)), ...(mode === 'tools' ? [] : [typeTests(root)])]
}

/**
 * The files of a package run in one process after each other: a process for each, with all its imports, takes a third of their time.
 * Not here, where what the files share (module by module) ends with a file.
 */
const A_PROCESS_FOR_EACH_FILE = ['@pgq/migrations', '@pgq/publish']

function testsOf(root: string, { name, folder }: Workspace): TestProjectConfiguration {
  return {
    root: join(root, folder),
    resolve: { alias: packageAliases(root) },
    test: {
      name,
      include: ['test/**/*.test.ts'],
      environment: 'node',
      isolate: A_PROCESS_FOR_EACH_FILE.includes(name),
      // Many start a Node or a server, which on a busy machine takes its time.
      testTimeout: 60_000,
      hookTimeout: 60_000,
      // By default it gives up after a second, which a machine that has other work may take.
      expect: { poll: { timeout: 10_000 } },
    },
  }
}

function typeTests(root: string): TestProjectConfiguration {
  return {
    root,
    test: {
      name: 'types',
      typecheck: {
        enabled: true,
        only: true,
        include: ['packages/*/test/*.test-d.ts'],
        // The typecheck step reports those; here only what a test promises counts.
        ignoreSourceErrors: true,
      },
    },
  }
}

/** The packages' names and subpaths to their sources, so that tests need no build, and coverage is of what people wrote. */
export function packageAliases(root: string): { find: RegExp; replacement: string }[] {
  return workspaces(root)
    .filter(({ folder }) => folder.startsWith('packages/'))
    .flatMap(({ name, folder, manifest }) =>
      Object.keys(manifest.exports ?? {})
        .filter((subpath) => !subpath.endsWith('.json'))
        .map((subpath) => ({
          find: new RegExp(`^${name}${subpath.slice(1)}$`),
          replacement: join(root, folder, 'src', `${subpath === '.' ? 'index' : basename(subpath)}.ts`),
        })),
    )
}
