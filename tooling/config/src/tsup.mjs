import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'tsup'

/**
 * How every package is built. The only place that knows tsup, so that another bundler can take its place here.
 * @param {import('./tsup.d.mts').PackageBuild} [build]
 */
export function packageBuild({ entries = {}, builtIn = [], format = ['esm', 'cjs'], ...rest } = {}) {
  rmSync('dist', { recursive: true, force: true })
  const build = {
    entry: { ...(existsSync('src/index.ts') && { index: 'src/index.ts' }), ...entries },
    // tsup sets baseUrl, which TypeScript 6 calls deprecated; and a package's types come from its dependencies' builds.
    dts: { compilerOptions: { ignoreDeprecations: '6.0', paths: {}, noCheck: true } },
    sourcemap: true,
    target: 'node20',
    platform: 'node',
    shims: true,
    noExternal: builtIn,
    ...(builtIn.length > 0 && { banner: { js: builtIn.map(noticeOf).join('\n') } }),
    silent: true,
    ...rest,
  }
  // Splitting would send CommonJS through a second compiler, which knows no class fields and no `?.`: slower code, classes without names.
  return defineConfig(format.map((one) => ({ ...build, format: one, splitting: one === 'esm' })))
}

/** What a copy must come with. */
function noticeOf(library) {
  const licence = readFileSync(join('node_modules', library, 'LICENSE'), 'utf8')
  return `/*!\nParts of this file are of ${library}:\n\n${licence.trim()}\n*/`
}
