import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { reachableBinaries } from '../src/binaries.js'
import { newCluster } from '../src/new-cluster.js'
import { makeServerFolder, removeServerFolder } from '../src/server-folder.js'
import { serverUser } from '../src/server-user.js'

// Mutants: files that are kept half; a copy that is broken and used all the same.
test('the files of a server are made once and copied then; what cannot be copied is made anew', async () => {
  const cache = mkdtempSync(join(tmpdir(), 'pgq-cache-'))
  onTestFinished(() => rmSync(cache, { recursive: true }))
  const user = serverUser()
  const make = async () => {
    const folder = makeServerFolder(user)
    onTestFinished(() => removeServerFolder(folder))
    const password = await newCluster(folder, reachableBinaries(folder, user), user, cache)
    expect(existsSync(join(folder, 'data/PG_VERSION'))).toBe(true)
    return { password, files: readdirSync(join(folder, 'data'), { recursive: true }).sort() }
  }
  // At the same time: each makes its own, one of them is kept.
  const [one, other] = await Promise.all([make(), make()])
  const [kept] = readdirSync(cache)
  expect(readdirSync(cache)).toHaveLength(1)
  const third = await make()
  expect([one.password, other.password]).toContain(third.password)
  expect(third.files).toEqual(one.files)

  rmSync(join(cache, kept!, 'password'))
  const fourth = await make()
  expect([one.password, other.password]).not.toContain(fourth.password)
  expect(fourth.files).toEqual(one.files)
})
