import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build, type Plugin } from 'esbuild'
import { isAlive } from './is-alive.js'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/**
 * Makes plain JavaScript of a program of the package in `folder`, from the sources as they are, and answers its path. Node starts it
 * with a third of the work that it has with tsx, which looks at every file of every library. It is there for as long as this process.
 */
export async function bundleProgram(folder: string, program: string): Promise<string> {
  const cache = join(folder, 'node_modules/.cache')
  mkdirSync(cache, { recursive: true })
  sweep(cache)
  const outdir = mkdtempSync(join(cache, `pgq-${process.pid}-`))
  await build({
    entryPoints: [join(folder, program)],
    outdir,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    sourcemap: 'inline',
    plugins: [workspaceSources(folder)],
  })
  return join(outdir, `${basename(program, '.ts')}.mjs`)
}

/** Removes what processes left that are gone. */
function sweep(cache: string): void {
  for (const name of readdirSync(cache)) {
    const [, pid] = /^pgq-(\d+)-/.exec(name) ?? []
    if (pid && !isAlive(Number(pid))) rmSync(join(cache, name), { recursive: true, force: true })
  }
}

/** Libraries of hundreds of files: Node takes longer to open them than for all the rest of a short program. */
const BUNDLED = ['kysely']

/**
 * A plugin of esbuild that bundles our packages from their sources and leaves most others to Node. The bundle lies somewhere in
 * `folder`: what its package.json names, Node finds from there. `edit` may change a source, which it gets with its path from the root.
 */
export function workspaceSources(
  folder: string,
  edit: (file: string, contents: string) => string = (_, contents) => contents,
): Plugin {
  const { dependencies, devDependencies } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const declared = { ...dependencies, ...devDependencies }
  const isDeclared = (path: string): boolean => path in declared || path.split('/')[0]! in declared
  return {
    name: 'workspace-sources',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^[^./]/ }, ({ path, importer }) => {
        if (path.startsWith('@pgq/')) return { path: sourceOf(path) }
        if (BUNDLED.includes(path)) return undefined
        if (path.startsWith('node:') || isDeclared(path)) return { path, external: true }
        return { path: createRequire(importer || import.meta.url).resolve(path), external: true }
      })
      onLoad({ filter: /\.ts$/ }, ({ path }) => {
        const contents = edit(relative(root, path), readFileSync(path, 'utf8'))
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
