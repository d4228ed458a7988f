import { createHash } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { InvalidOptionError } from '@pgq/core'

/** The built front end. */
export interface Assets {
  /** The files, by the name that the page asks for. It changes with the content, so that a browser may keep them for ever. */
  readonly files: ReadonlyMap<string, { readonly type: string; readonly body: Uint8Array<ArrayBuffer> }>
  /** The page, with the path that its links start from put in. */
  page(basePath: string): string
}

const TYPES: Readonly<Record<string, string>> = {
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
}

/** From src/ and from dist/ alike. Of a bundle, which may have no address of its own, somewhere else. */
const folderOf = (module: string | undefined): string =>
  module ? fileURLToPath(new URL('../dist/client/', module)) : '../dist/client/'

const folder = folderOf(import.meta.url)

/** Throws InvalidOptionError when they are not there, as in a bundle, where each page would fail. */
export function checkAssets(): void {
  if (existsSync(`${folder}index.html`)) return
  throw new InvalidOptionError(
    `The dashboard's files are not at ${folder}: do not bundle @pgq/dashboard (serverExternalPackages in Next, external in esbuild).`,
  )
}

let loaded: Assets | undefined

/** Reads them, once. */
export function loadAssets(): Assets {
  loaded ??= readAssets()
  return loaded
}

function readAssets(): Assets {
  const files = new Map<string, { type: string; body: Uint8Array<ArrayBuffer> }>()
  let html = readFileSync(`${folder}index.html`, 'utf8')
  for (const name of readdirSync(folder).filter((name) => extname(name) in TYPES)) {
    const body = new Uint8Array(readFileSync(folder + name))
    const hash = createHash('sha256').update(body).digest('hex').slice(0, 12)
    const hashed = `${hash}-${name}`
    files.set(hashed, { type: TYPES[extname(name)]!, body })
    html = html.replace(`{{${name}}}`, hashed)
  }
  return { files, page: (basePath) => html.replaceAll('{{base}}', basePath) }
}
