// Builds the front end into dist/client: one script, one style sheet, and the page that names them.
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const out = join(here, '../dist/client')

/** Bundles and writes. Files appear whole: somebody may be reading them. */
export async function buildClient() {
  const { outputFiles } = await build({
    entryPoints: [join(here, 'main.tsx')],
    outdir: out,
    bundle: true,
    minify: true,
    write: false,
    format: 'esm',
    target: ['chrome123', 'firefox121', 'safari17.5'],
    tsconfig: join(here, 'tsconfig.json'),
  })
  await mkdir(out, { recursive: true })
  for (const { path, contents } of outputFiles) await place(path, contents)
  for (const name of ['index.html', 'mark.svg']) await place(join(out, name), await readFile(join(here, name)))
  await place(join(out, 'licenses.txt'), await licenses())
}

async function place(path, contents) {
  const unfinished = `${path}.${process.pid}`
  await writeFile(unfinished, contents)
  await rename(unfinished, path)
}

/** The bundled libraries ask that their licences travel along. */
async function licenses() {
  const require = createRequire(import.meta.url)
  const folders = {
    preact: dirname(require.resolve('preact/package.json')),
    uplot: join(dirname(require.resolve('uplot')), '..'),
  }
  const texts = Object.entries(folders).map(async ([name, folder]) => {
    return `${name}\n\n${await readFile(join(folder, 'LICENSE'), 'utf8')}`
  })
  return (await Promise.all(texts)).join('\n\n')
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildClient()
