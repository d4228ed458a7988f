import type { TestContext } from './test-context.js'

/** One test of the battery. */
export interface BatteryTest {
  readonly number: number
  readonly name: string
  /** It waits for most of its time, and leaves the processors to others: it runs beside others like it. */
  readonly waits?: true
  /** Safety tests name builds that must fail them: proof that the test can see what it looks for. */
  readonly mutants?: readonly Mutant[]
  /** Puts the queue through it. Answers its figures for the report; throws CheckFailed when something did not hold. */
  run(context: TestContext): Promise<string>
}

/** A defect, put into a copy of the product's sources. */
export interface Mutant {
  readonly name: string
  readonly patches: readonly Patch[]
}

/** `find` must occur exactly once in the file (a path from the root of the repository): else the mutant is out of date. */
export interface Patch {
  readonly file: string
  readonly find: string
  readonly replace: string
}

/** What must hold did not. Each problem is a sentence. */
export class CheckFailed extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.slice(0, 5).join(' ') + (problems.length > 5 ? ` And ${problems.length - 5} more.` : ''))
  }
}

/** This machine cannot run the test; the message says what is missing. */
export class Skipped extends Error {}

/** Throws CheckFailed when there are problems. */
export function expectNone(problems: readonly (string | false)[]): void {
  const found = problems.filter((problem) => problem !== false)
  if (found.length > 0) throw new CheckFailed(found)
}

/** Throws CheckFailed unless the condition holds. */
export function expect(condition: boolean, problem: string): asserts condition {
  if (!condition) throw new CheckFailed([problem])
}
