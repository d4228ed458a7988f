import { randomBytes } from 'node:crypto'
import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import ts from 'typescript'
import { onTestFinished } from 'vitest'

const packageFolder = fileURLToPath(new URL('..', import.meta.url))

export interface PackageCopy {
  readonly folder: string
  /** To import in this process. */
  load(): Promise<typeof import('../src/index.js')>
}

/**
 * This package as plain JavaScript in a folder of its own, for the running test alone: to be run by other processes, or to
 * be given other SQL files, by their path in sql/, as another version of the package has them; null takes one away.
 */
export async function packageCopy(sqlFiles: Record<string, string | null> = {}): Promise<PackageCopy> {
  // Below the package, so that its dependencies are found.
  const folder = join(packageFolder, 'node_modules', '.test-copies', randomBytes(6).toString('hex'))
  onTestFinished(() => rm(folder, { recursive: true }))
  await copyJavaScript(folder)
  await cp(join(packageFolder, 'sql'), join(folder, 'sql'), { recursive: true })
  for (const [path, text] of Object.entries(sqlFiles)) await replaceFile(join(folder, 'sql', path), text)
  return { folder, load: () => import(pathToFileURL(join(folder, 'src/index.js')).href) }
}

async function copyJavaScript(folder: string): Promise<void> {
  await mkdir(join(folder, 'src'), { recursive: true })
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }')
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true }
  for (const name of await readdir(join(packageFolder, 'src'))) {
    const source = await readFile(join(packageFolder, 'src', name), 'utf8')
    const { outputText } = ts.transpileModule(source, { compilerOptions })
    await writeFile(join(folder, 'src', name.replace(/ts$/, 'js')), outputText)
  }
}

async function replaceFile(path: string, text: string | null): Promise<void> {
  if (text === null) return rm(path)
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, text)
}
