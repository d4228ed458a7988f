import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { isAbsolute, join, relative } from 'node:path'
import { defineConfig } from 'tsup'

/**
 * How every package is built. The only place that knows tsup, so that another bundler can take its place here.
 * @param {import('./tsup.d.mts').PackageBuild} [build]
 */
export function packageBuild({ entries = {}, builtIn = [], ...rest } = {}) {
  return defineConfig({
    entry: { ...(existsSync('src/index.ts') && { index: 'src/index.ts' }), ...entries },
    format: ['esm', 'cjs'],
    // tsup sets baseUrl, which TypeScript 6 calls deprecated; and a package's types come from its dependencies' builds.
    dts: { compilerOptions: { ignoreDeprecations: '6.0', paths: {}, noCheck: true } },
    sourcemap: true,
    clean: true,
    target: 'node20',
    platform: 'node',
    shims: true,
    noExternal: builtIn,
    ...(builtIn.length > 0 && { banner: { js: builtIn.map(noticeOf).join('\n') } }),
    splitting: true,
    silent: true,
    onSuccess: nameSourcesFromHere,
    ...rest,
  })
}

/** What a copy must come with. */
function noticeOf(library) {
  const licence = readFileSync(join('node_modules', library, 'LICENSE'), 'utf8')
  return `/*!\nParts of this file are of ${library}:\n\n${licence.trim()}\n*/`
}

/** The maps of CommonJS builds name a file that was between two steps, by where the build was made: that would be published. */
async function nameSourcesFromHere() {
  for (const name of readdirSync('dist').filter((file) => file.endsWith('.cjs.map'))) {
    const file = join('dist', name)
    const map = JSON.parse(readFileSync(file, 'utf8'))
    const fromHere = (path) => (isAbsolute(path) ? relative('dist', path) : path)
    map.file = fromHere(map.file)
    map.sources = map.sources.map(fromHere)
    writeFileSync(file, JSON.stringify(map))
  }
}
