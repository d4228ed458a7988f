import { createDatabase } from '@pgq/test-db'
import { describe, expect, inject, onTestFinished, test } from 'vitest'
import { allPages, blocksOf } from './page.js'
import { typeErrors, writeProject } from './project.js'
import { runPage } from './run-page.js'
import { temporaryFolder } from './temporary-folder.js'

const blocks = allPages().map((page) => blocksOf(page))
const project = writeProject(temporaryFolder(), blocks.flat())
const errors = await typeErrors(project)

describe.each(allPages().map((page, index) => [page, blocks[index]!] as const))('%s', (_page, shown) => {
  test('compiles', () => {
    expect(shown.flatMap((block) => errors.get(block) ?? [])).toEqual([])
  })

  test('runs', { timeout: 120_000 }, async () => {
    const database = await createDatabase(inject('pgqAdminUrl'), { template: inject('pgqTemplate') })
    onTestFinished(() => database.drop())
    expect(await runPage(shown, project, database.url)).toEqual([])
  })
})

test('next to everything is run', () => {
  const shown = blocks.flat().filter(({ note }) => note !== '')
  expect(shown.map(({ page, note }) => `${page} ${note}`)).toHaveLength(0)
})
