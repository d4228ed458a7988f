import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import type { MigrateResult } from '../src/index.js'
import type { PackageCopy } from './package-copy.js'

/** Starts that many processes, lets them all migrate at the same moment, and answers what each of them got. */
export async function migrateInProcesses(
  copy: PackageCopy,
  count: number,
  url: string,
  schemas: readonly string[] = ['pgq'],
): Promise<MigrateResult[]> {
  const script = join(copy.folder, 'migrating-process.js')
  await writeFile(script, body)
  const children = Array.from({ length: count }, () => start(script))
  await Promise.all(children.map((child) => once(child, 'message')))
  const results = children.map((child, place) => answer(child, { url, schema: schemas[place % schemas.length] }))
  return Promise.all(results)
}

const body = `
import { migrate } from './src/index.js'
process.once('message', async ({ url, schema }) => {
  process.send(await migrate(url, { schema }).catch((error) => ({ error: String(error.stack) })))
  process.disconnect()
})
process.send('ready')`

function start(script: string): ChildProcess {
  const child = fork(script, { execArgv: [] })
  onTestFinished(() => void child.kill('SIGKILL'))
  return child
}

async function answer(child: ChildProcess, request: object): Promise<MigrateResult> {
  const answered = Promise.race([once(child, 'message'), once(child, 'exit')])
  child.send(request)
  const [result] = await answered
  return result
}
