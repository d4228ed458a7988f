import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

const prefix = 'pgq-publish-'
const longestRunMs = 3_600_000

const made: string[] = []
// Here, because inside of a test or a hook it comes too late for this file.
afterAll(() => made.forEach(remove))

/** A folder in the temporary folder, removed after the file's last test. */
export function temporaryFolder(name: string): string {
  sweep()
  const folder = mkdtempSync(join(tmpdir(), `${prefix}${name}-`))
  made.push(folder)
  return folder
}

/** What a run left behind that was killed. */
function sweep(): void {
  for (const name of readdirSync(tmpdir())) {
    const folder = join(tmpdir(), name)
    if (name.startsWith(prefix) && isOld(folder)) remove(folder)
  }
}

function isOld(folder: string): boolean {
  const { mtimeMs } = statSync(folder, { throwIfNoEntry: false }) ?? { mtimeMs: Number.POSITIVE_INFINITY }
  return Date.now() - mtimeMs > longestRunMs
}

function remove(folder: string): void {
  try {
    rmSync(folder, { recursive: true, force: true, maxRetries: 3 })
  } catch {
    // Another user's, or another sweep was faster.
  }
}
