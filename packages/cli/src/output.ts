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

let lostOutput: number | undefined

/** How the command ends when its output could not be written any more, whatever it had to say. */
export const outputEnd = (): number | undefined => lostOutput

/**
 * Whoever reads on the other end may leave: `pgq jobs | head`. That is no failure of ours, a full disk is one. What drains on
 * SIGTERM, as a worker does, does so now; anything else ends at once.
 */
export function endWithOutput(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on('error', ({ code, message }: NodeJS.ErrnoException) => {
      // What is written while it drains is lost as well.
      if (lostOutput !== undefined) return
      lostOutput = code === 'EPIPE' ? EXIT.pipe : EXIT.failed
      if (code !== 'EPIPE') note(`pgq: The output could not be written: ${message}.`)
      if (process.listenerCount('SIGTERM') > 0) process.kill(process.pid, 'SIGTERM')
      else process.exit(lostOutput)
    })
  }
}
