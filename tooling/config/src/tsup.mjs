import { existsSync } from 'node:fs'
import { defineConfig } from 'tsup'

/**
 * How every package is built. The only place that knows tsup, so that another bundler can take its place here.
 * @param {import('./tsup.d.mts').PackageBuild} [build]
 */
export function packageBuild({ entries = {}, ...rest } = {}) {
  return defineConfig({
    entry: { ...(existsSync('src/index.ts') && { index: 'src/index.ts' }), ...entries },
    format: ['esm', 'cjs'],
    // tsup sets baseUrl, which TypeScript 6 calls deprecated; and a package's types come from its dependencies' builds.
    dts: { compilerOptions: { ignoreDeprecations: '6.0', paths: {} } },
    sourcemap: true,
    clean: true,
    target: 'node20',
    platform: 'node',
    shims: true,
    splitting: true,
    silent: true,
    ...rest,
  })
}
