import { CommanderError } from 'commander'
import { explain } from './explain.js'
import { EXIT } from './failure.js'
import { endWithReader } from './output.js'
import { plainJson, plainLines } from './plain.js'
import { pgqProgram } from './program.js'

endWithReader()
const exitCode = await run(process.argv)
// The module of a worker may hold a pool open, and a pipe may still be full: what was written goes out first.
process.stdout.write('', (error) => process.stderr.write('', () => process.exit(error ? EXIT.pipe : exitCode)))

async function run(argv: readonly string[]): Promise<number> {
  let exitCode: number = EXIT.ok
  const program = pgqProgram((code) => {
    exitCode = code
  })
  try {
    await program.parseAsync(argv)
    return exitCode
  } catch (error) {
    // It has said what is wrong; help and the version were asked for.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    const { message, code, exitCode } = explain(error)
    const json = argv.includes('--json')
    process.stderr.write(json ? `${plainJson({ error: message, code })}\n` : `pgq: ${plainLines(message)}\n`)
    return exitCode
  }
}
