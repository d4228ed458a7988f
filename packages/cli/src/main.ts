import { CommanderError } from 'commander'
import { explain } from './explain.js'
import { EXIT } from './failure.js'
import { endWithOutput, outputEnd } from './output.js'
import { plainJson, plainLines } from './plain.js'
import { pgqProgram } from './program.js'

endWithOutput()
const exitCode = await run(process.argv)
// The module of a worker may hold a pool open, and a pipe may still be full: what was written goes out first. That it cannot is heard
// just after.
process.stdout.write('', () =>
  process.stderr.write('', () => setImmediate(() => process.exit(outputEnd() ?? exitCode))),
)

async function run(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok
  const json = argv.includes('--json')
  const program = pgqProgram((code) => {
    exitCode = code
  }, json)
  try {
    await program.parseAsync(argv)
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError) {
      // Help and the version were asked for.
      if (error.exitCode === 0) return EXIT.ok
      // In words, it has said what is wrong.
      if (json) sayJson(error.message.replace(/^error: /, ''))
      return EXIT.usage
    }
    const { message, code, exitCode } = explain(error)
    if (json) sayJson(message, code)
    else process.stderr.write(`pgq: ${plainLines(message)}\n`)
    return exitCode
  }
}

function sayJson(error: string, code?: string): void {
  process.stderr.write(`${plainJson({ error, code })}\n`)
}
