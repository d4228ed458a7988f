import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import * as esbuild from 'esbuild'
import type { Patch } from './battery-test.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))
const own = join(root, 'apps/battery')
const source = join(own, 'src')
const programs = join(source, 'programs')

/**
 * Bundles the tests and their programs with the product's sources, patched, and answers the folder that holds them: one of this
 * process alone, which goes when the process ends.
 */
export async function build(name: string, patches: readonly Patch[] = []): Promise<string> {
  const folder = join(own, 'dist', `${name}-${process.pid}`)
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  const applied = new Set<Patch>()
  await esbuild.build({
    entryPoints: [join(source, 'run-tests.ts'), ...readdirSync(programs).map((file) => join(programs, file))],
    outdir: folder,
    outbase: source,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    logLevel: 'silent',
    plugins: [workspaceSources(patches, applied)],
  })
  for (const patch of patches) {
    if (!applied.has(patch)) throw new Error(`${patch.file} is no part of the build: this mutant is out of date.`)
  }
  return folder
}

/** Takes @pgq packages from their sources, patched, and leaves everything else to Node. */
function workspaceSources(patches: readonly Patch[], applied: Set<Patch>): esbuild.Plugin {
  return {
    name: 'workspace-sources',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^[^./]/ }, ({ path, importer }) => {
        if (path.startsWith('@pgq/')) return { path: sourceOf(path) }
        if (path.startsWith('node:') || isDeclared(path)) return { path, external: true }
        return { path: createRequire(importer || import.meta.url).resolve(path), external: true }
      })
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const file = relative(root, path)
        let contents = readFileSync(path, 'utf8')
        for (const patch of patches) {
          if (patch.file !== file) continue
          contents = apply(patch, contents)
          applied.add(patch)
        }
        // Packages find their own files (SQL, the supervisor) from there.
        const url = JSON.stringify(pathToFileURL(path).href)
        return { contents: contents.replaceAll('import.meta.url', url), loader: 'ts' }
      })
    },
  }
}

function sourceOf(name: string): string {
  const [, folder, subpath = 'index'] = name.split('/')
  const found = ['packages', 'tooling']
    .map((group) => join(root, group, folder!, 'src', `${subpath}.ts`))
    .find((path) => existsSync(path))
  if (!found) throw new Error(`There is no source of ${name}.`)
  return found
}

const { dependencies } = JSON.parse(readFileSync(join(own, 'package.json'), 'utf8'))
const isDeclared = (path: string): boolean => path in dependencies || path.split('/')[0]! in dependencies

function apply({ file, find, replace }: Patch, contents: string): string {
  const [before, after, ...more] = contents.split(find)
  if (after === undefined) throw new Error(`${file} has no ${JSON.stringify(find)}: this mutant is out of date.`)
  if (more.length > 0) throw new Error(`${file} has ${JSON.stringify(find)} more than once: name more of the line.`)
  return before + replace + after
}
