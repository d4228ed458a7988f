import { execFile } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { transformSync } from 'esbuild'
import { type Block, placeOf, root } from './page.js'

const run = promisify(execFile)

/** The TypeScript of some pages as files, one folder a page, as a user would have them. */
export interface Project {
  readonly folder: string
  readonly tsconfig: string
  /** The program that runs the pieces of code (stage.ts). */
  readonly stage: string
  readonly files: ReadonlyMap<Block, ProjectFile>
}

export interface ProjectFile {
  readonly folder: string
  /** What the block calls itself in its first line (`// tasks.ts`), else a name made of its place. */
  readonly name: string
  readonly path: string
  /** The same as JavaScript: it needs no loader then, which would take longer than most of this code. */
  readonly js: string
}

/** Writes the files. Pages may import whatever this package depends on, our own packages as they were built. */
export function writeProject(folder: string, blocks: readonly Block[]): Project {
  if (!existsSync(join(root, 'packages/cli/dist'))) throw new Error('Pages run on what was built: npm run build first.')
  symlinkSync(join(root, 'tooling/docs/node_modules'), join(folder, 'node_modules'))
  writeFileSync(join(folder, 'package.json'), MODULES)
  writeFileSync(join(folder, 'globals.d.ts'), GLOBALS)
  const files = new Map<Block, ProjectFile>()
  for (const block of blocks) {
    const own = folderOf(folder, block.page)
    mkdirSync(own, { recursive: true })
    writeFileSync(join(own, 'package.json'), MODULES)
    if (block.language !== 'ts' || block.note) continue
    const file = fileOf(own, block)
    if ([...files.values()].some(({ path }) => path === file.path)) {
      throw new Error(`${placeOf(block)}: there is a ${file.name} on this page already`)
    }
    writeFileSync(file.path, block.code)
    writeFileSync(file.js, javascriptOf(block.code))
    files.set(block, file)
  }
  const tsconfig = join(folder, 'tsconfig.json')
  const config = {
    extends: join(root, 'tooling/config/tsconfig.base.json'),
    compilerOptions: { moduleDetection: 'force' },
    files: [join(folder, 'globals.d.ts'), ...[...files.values()].map(({ path }) => path)],
  }
  writeFileSync(tsconfig, JSON.stringify(config))
  const stage = join(folder, 'stage.js')
  writeFileSync(stage, javascriptOf(readFileSync(join(import.meta.dirname, 'stage.ts'), 'utf8')))
  return { folder, tsconfig, stage, files }
}

function javascriptOf(code: string): string {
  const tsconfigRaw = { compilerOptions: { verbatimModuleSyntax: true } }
  try {
    return transformSync(code, { loader: 'ts', target: 'node20', tsconfigRaw, logLevel: 'silent' }).code
  } catch {
    return '' // typeErrors says what is wrong.
  }
}

const MODULES = '{ "type": "module" }'

/** What a page's reader has at hand: stage.ts makes them. */
const GLOBALS = `export {}
declare global {
  const pool: import('pg').Pool
  const db: import('kysely').Kysely<any>
}
`

/** The folder of one page's files. */
export const folderOf = (project: string, page: string): string => join(project, page.replaceAll(/\W/g, '-'))

function fileOf(folder: string, { code, line }: Block): ProjectFile {
  const [, name = `line-${line}.ts`] = /^\/\/ ([\w-]+(?:\.[\w-]+)*\.ts)\b/.exec(code) ?? []
  const path = join(folder, name)
  return { folder, name, path, js: path.replace(/\.ts$/, '.js') }
}

/** What the compiler says of each block, in its page's own lines. */
export async function typeErrors({ folder, tsconfig, files }: Project): Promise<Map<Block, string[]>> {
  const compiler = join(root, 'node_modules/typescript/bin/tsc')
  const args = [compiler, '--project', tsconfig, '--pretty', 'false']
  // It also fails when it has found something, and prints that. One that did not run prints nothing here.
  const { stdout } = await run(process.execPath, args, { cwd: folder }).catch((error) => {
    if (!error.stdout) throw error
    return error as { stdout: string }
  })
  const errors = new Map([...files.keys()].map((block) => [block, [] as string[]]))
  const blocks = new Map([...files].map(([block, { path }]) => [relative(folder, path), block]))
  // What is indented explains the line before it.
  for (const text of stdout.split(/\n(?! )/).filter((line) => line !== '')) {
    const [, file, line, message] = /^(.+?)\((\d+),\d+\): error TS\d+: ([\s\S]*)$/.exec(text) ?? []
    const block = blocks.get(file ?? '')
    if (!block) throw new Error(text)
    errors.get(block)!.push(`${placeOf({ page: block.page, line: block.line + Number(line) - 1 })}: ${message}`)
  }
  return errors
}
