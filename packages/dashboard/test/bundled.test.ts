import { mkdtemp, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { expect, onTestFinished, test } from 'vitest'

const source = fileURLToPath(new URL('../src/index.ts', import.meta.url))

// Mutants: no look before a page is asked for: each then answers 500 and blames the database; a bundle that fails before it can say why.
test.each([
  ['esm', 'mjs'],
  ['cjs', 'cjs'],
] as const)(
  'in a bundle (%s), where its files are not found, it says at once what to do',
  async (format, extension) => {
    const folder = await mkdtemp(join(import.meta.dirname, '../node_modules/.bundled-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const outfile = join(folder, 'server', `bundle.${extension}`)
    const external = ['@pgq/core', '@pgq/monitor', 'kysely', 'pg']
    const logLevel = 'error' // what import.meta is in cjs
    await build({ entryPoints: [source], outfile, bundle: true, platform: 'node', format, external, logLevel })
    const { dashboard } = await import(pathToFileURL(outfile).href)
    expect(() => dashboard({ executor: { query() {} }, authenticate: false })).toThrow(
      expect.objectContaining({
        code: 'PGQ_INVALID_OPTION',
        message: expect.stringMatching(
          /^The dashboard's files are not at .*dist\/client\/: do not bundle @pgq\/dashboard \(server/,
        ),
      }),
    )
  },
)
