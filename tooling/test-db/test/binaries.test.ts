import { chmodSync, cpSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { reachableBinaries } from '../src/binaries.js'
import { serverUser } from '../src/server-user.js'

const isRoot = process.getuid?.() === 0

test('runs the programs where they are installed when their user can reach them', () => {
  const folder = temporaryFolder()
  expect(reachableBinaries(folder, undefined).postgres).not.toContain(folder)
})

// Catches: no copy, and a copy that belongs to root. A repository below root's own home folder is such a place.
test.runIf(isRoot)('copies them out of a folder that is closed to the user of the server', () => {
  const closed = temporaryFolder()
  const installed = join(closed, 'closed', 'native')
  mkdirSync(installed, { recursive: true })
  cpSync(join(reachableBinaries(closed, undefined).postgres, '../..'), installed, {
    recursive: true,
    verbatimSymlinks: true,
  })
  chmodSync(join(closed, 'closed'), 0o700)
  const open = temporaryFolder()
  chmodSync(open, 0o755)

  const { postgres } = reachableBinaries(open, serverUser(), installed)
  expect(postgres).toBe(join(open, 'native/bin/postgres'))
})

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pgq-binaries-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  return folder
}
