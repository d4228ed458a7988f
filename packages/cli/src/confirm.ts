import { createInterface } from 'node:readline/promises'
import { UsageError } from './failure.js'
import { plainLines } from './plain.js'

/** Asks on the terminal. Off one, nobody could answer: throws UsageError. */
export async function confirm(what: string): Promise<boolean> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) {
    throw new UsageError(`${what} Nothing was done, since nobody can be asked here: repeat it with --yes.`)
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr })
  terminal.on('SIGINT', () => process.exit(130))
  const closed = new Promise<string>((resolve) => terminal.once('close', () => resolve('')))
  const answer = await Promise.race([terminal.question(`${plainLines(what)} Go on? [y/N] `), closed])
  terminal.close()
  return /^y(es)?$/i.test(answer.trim())
}
