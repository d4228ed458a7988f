import type { WriteStream } from 'node:tty'
import { createColors } from 'picocolors'
import { EXIT } from './failure.js'
import { plainJson, plainLines } from './plain.js'

type Output = NodeJS.WriteStream

/** Colours for a terminal that has them; none for anything else, or when NO_COLOR is set. */
export const coloursFor = (output: Output) => createColors(output.isTTY === true && (output as WriteStream).hasColors())

/** Writes to stdout, a line break added. The text is safe already. */
export const print = (text: string): void => void process.stdout.write(`${text}\n`)

/** One line of JSON. */
export const printJson = (value: unknown): void => print(plainJson(value))

/** A remark beside the answer: on stderr, so that stdout holds nothing else. */
export const note = (text: string): void => void process.stderr.write(`${plainLines(text)}\n`)

export const number = (count: number): string => count.toLocaleString('en-US')

/** `1 job`, `2 jobs`. */
export const counted = (count: number, what: string): string => `${number(count)} ${what}${count === 1 ? '' : 's'}`

/** Whoever reads on the other end may leave: `pgq jobs | head`. That is no failure of ours. */
export function endWithReader(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code !== 'EPIPE') throw error
      process.exit(EXIT.pipe)
    })
  }
}
