import { copyFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProgram } from './program.js'
import type { Registry } from './registry.js'
import { temporaryFolder } from './temporary-folder.js'

const here = fileURLToPath(new URL('..', import.meta.url))

/** A stranger's project. */
export interface EmptyProject {
  /** Installs with npm, by name or name@version. Answers what is installed then, all that came along included. */
  install(...packages: string[]): Promise<InstalledPackage[]>
  /** Puts a program of consumers/ into the project, under a name of its own. */
  copy(program: string, as?: string): void
  write(file: string, text: string): void
  /** Compiles all programs, .mts to ESM and .cts to CommonJS. Rejects with what the compiler said. */
  compile(compiler: 'typescript' | 'typescript-7'): Promise<void>
  /** Runs a compiled program. Answers the lines that it printed. */
  node(file: string, env?: Readonly<Record<string, string>>): Promise<string[]>
  /** Runs a command that a package brought. */
  command(name: string, ...args: string[]): Promise<string>
}

export interface InstalledPackage {
  readonly name: string
  readonly version: string
  readonly hasInstallScript: boolean
}

/** Makes an empty project in the temporary folder, for which npm has the registry's packages too. */
export function emptyProject(registry: Registry): EmptyProject {
  const folder = temporaryFolder('project')
  const file = (name: string) => join(folder, name)
  writeFileSync(file('package.json'), '{ "private": true }\n')
  writeFileSync(file('.npmrc'), registry.npmrc)
  writeFileSync(file('tsconfig.json'), JSON.stringify(tsconfig))
  return {
    install: async (...packages) => {
      await runProgram('npm', ['install', ...quickly, '--save-exact', ...packages], {
        cwd: folder,
        // The cache of whoever runs this may hold what an earlier registry on the same port had.
        env: { npm_config_cache: npmCache() },
      })
      return installedIn(file('package-lock.json'))
    },
    copy: (program, as = program) => copyFileSync(join(here, 'consumers', program), file(as)),
    write: (name, text) => writeFileSync(file(name), text),
    compile: async (compiler) =>
      void (await runProgram(process.execPath, [join(here, 'node_modules', compiler, 'bin/tsc')], { cwd: folder })),
    node: async (name, env = {}) => linesOf(await runProgram(process.execPath, [name], { cwd: folder, env })),
    command: (name, ...args) => runProgram(file(`node_modules/.bin/${name}`), args, { cwd: folder }),
  }
}

const quickly = ['--prefer-offline', '--no-audit', '--no-fund', '--no-update-notifier', '--loglevel=error']

let cache: string | undefined
function npmCache(): string {
  cache ??= temporaryFolder('npm-cache')
  return cache
}

// The strictest that a user may be: the published types themselves are checked, and with no more than Node's own.
const tsconfig = {
  compilerOptions: {
    target: 'ES2022',
    lib: ['ES2022'],
    types: ['node'],
    module: 'NodeNext',
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
  },
  include: ['*.mts', '*.cts'],
}

function installedIn(lockfile: string): InstalledPackage[] {
  const { packages } = JSON.parse(readFileSync(lockfile, 'utf8')) as {
    packages: Record<string, { version: string; hasInstallScript?: boolean }>
  }
  return Object.entries(packages)
    .filter(([path]) => path !== '')
    .map(([path, { version, hasInstallScript = false }]) => ({
      name: path.replace(/^.*node_modules\//, ''),
      version,
      hasInstallScript,
    }))
}

const linesOf = (output: string): string[] => output.trimEnd().split('\n')
