import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { type Block, placeOf, root } from './page.js'

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
  /** The same as JavaScript: a piece of code needs no loader then, which would take longer than the code. */
  readonly js: string
}

/** Writes the files. Pages may import whatever this package depends on, our own packages as they were built. */
export function writeProject(folder: string, blocks: readonly Block[]): Project {
  if (!existsSync(join(root, 'packages/cli/dist'))) throw new Error('Pages run on what was built: npm run build first.')
  const tsconfig = join(folder, 'tsconfig.json')
  const config = {
    extends: join(root, 'tooling/config/tsconfig.base.json'),
    compilerOptions: { moduleDetection: 'force' },
  }
  writeFileSync(tsconfig, JSON.stringify(config))
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
  const stage = join(folder, 'stage.js')
  writeFileSync(stage, javascriptOf(readFileSync(join(import.meta.dirname, 'stage.ts'), 'utf8')))
  return { folder, tsconfig, stage, files }
}

const javascriptOf = (code: string): string =>
  ts.transpileModule(code, {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext, verbatimModuleSyntax: true },
  }).outputText

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
export function typeErrors({ folder, tsconfig, files }: Project): Map<Block, string[]> {
  const { config } = ts.readConfigFile(tsconfig, ts.sys.readFile)
  const { options } = ts.parseJsonConfigFileContent({ ...config, files: [] }, ts.sys, folder)
  const paths = [...files.values()].map(({ path }) => path)
  const program = ts.createProgram([join(folder, 'globals.d.ts'), ...paths], options)
  const wrong = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()]
  if (wrong.length > 0) throw new Error(wrong.map(messageOf).join('\n'))
  const errorsOf = (block: Block, path: string): string[] => {
    const source = program.getSourceFile(path)!
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((diagnostic) => {
      const line = block.line + source.getLineAndCharacterOfPosition(diagnostic.start ?? 0).line
      return `${placeOf({ page: block.page, line })}: ${messageOf(diagnostic)}`
    })
  }
  return new Map([...files].map(([block, { path }]) => [block, errorsOf(block, path)]))
}

const messageOf = ({ messageText }: ts.Diagnostic): string => ts.flattenDiagnosticMessageText(messageText, '\n')
