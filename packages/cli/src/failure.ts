/** How a command ends. What ended it from outside has the shell's numbers: 141 for SIGPIPE, 130 for SIGINT, 143 for SIGTERM. */
export const EXIT = Object.freeze({ ok: 0, failed: 1, usage: 2, pipe: 141 })

/** Something that is said in one sentence, without a stack: the command could not do what it was asked. */
export class Failure extends Error {
  override readonly name: string = 'Failure'
  readonly exitCode: number = EXIT.failed
}

/** The command line asks for what cannot be. Nothing was done. */
export class UsageError extends Failure {
  override readonly name = 'UsageError'
  override readonly exitCode = EXIT.usage
}
