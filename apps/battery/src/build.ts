import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { workspaceSources } from '@pgq/config/bundle'
import * as esbuild from 'esbuild'
import type { Patch } from './battery-test.js'

const own = fileURLToPath(new URL('..', import.meta.url))
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
  const applyAll = (file: string, source: string): string =>
    patches
      .filter((patch) => patch.file === file)
      .reduce((contents, patch) => {
        applied.add(patch)
        return apply(patch, contents)
      }, source)
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
    plugins: [workspaceSources(own, applyAll)],
  })
  for (const patch of patches) {
    if (!applied.has(patch)) throw new Error(`${patch.file} is no part of the build: this mutant is out of date.`)
  }
  return folder
}

function apply({ file, find, replace }: Patch, contents: string): string {
  const [before, after, ...more] = contents.split(find)
  if (after === undefined) throw new Error(`${file} has no ${JSON.stringify(find)}: this mutant is out of date.`)
  if (more.length > 0) throw new Error(`${file} has ${JSON.stringify(find)} more than once: name more of the line.`)
  return before + replace + after
}
