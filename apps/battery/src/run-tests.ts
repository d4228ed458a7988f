// Runs the tests that its argument names, in this build; prints a line for each. The last line of its report goes to the parent.
import { type BatteryTest, CheckFailed, Skipped } from './battery-test.js'
import { type OpenContext, openContext, type Shared, shareServer } from './test-context.js'
import { tests } from './tests.js'

export interface RunRequest {
  readonly seed: number
  readonly long: boolean
  readonly names: readonly string[]
  /** In seconds. */
  readonly within?: number | undefined
}

/** failed: something did not hold; broken: the test itself could not go on. */
export type Verdict = 'passed' | 'failed' | 'broken' | 'skipped'

const LABELS: Record<Verdict, string> = { passed: 'ok  ', failed: 'FAIL', broken: 'FAIL', skipped: 'skip' }

const request: RunRequest = JSON.parse(process.argv[2]!)
let starting: Promise<Shared> | undefined
const shared = () => {
  starting ??= shareServer()
  return starting
}
process.on('disconnect', () => process.exit(1))
// What a test has made outside of this process goes when it exits, and only then.
process.on('SIGTERM', () => process.exit(143))
const chosen = tests.filter(({ name }) => request.names.includes(name))
// First those that wait, three at a time; then the others, each alone: they count milliseconds, or need both processors.
const waiting = chosen.filter(({ waits }) => waits)
await Promise.all([runInTurn(waiting), runInTurn(waiting), runInTurn(waiting)])
await runInTurn(chosen.filter(({ waits }) => !waits))
await (await starting)?.close()
process.exit(0)

/** Until none is left; several may take from the same list. */
async function runInTurn(left: BatteryTest[]): Promise<void> {
  for (let test = left.shift(); test; test = left.shift()) process.send?.([test.name, await runTest(test)])
}

async function runTest(test: BatteryTest): Promise<Verdict> {
  const start = performance.now()
  const context = openContext(test.name, { ...request, shared })
  let verdict: Verdict = 'passed'
  let says: string
  try {
    if (start > (request.within ?? Number.POSITIVE_INFINITY) * 1_000) throw new Skipped('there was no time left for it')
    says = await test.run(context)
  } catch (error) {
    verdict = error instanceof Skipped ? 'skipped' : error instanceof CheckFailed ? 'failed' : 'broken'
    says = error instanceof Error ? (verdict === 'broken' ? error.stack! : error.message) : String(error)
    if (verdict !== 'skipped') says += `\n     history: ${context.folder}\n     again: ${again(test)}\n    `
  }
  await close(context, verdict)
  const took = ((performance.now() - start) / 1_000).toFixed(1)
  console.log(`${LABELS[verdict]} ${String(test.number).padStart(2)} ${test.name.padEnd(24)} ${says} (${took} s)`)
  return verdict
}

// A declaration: the tests above run before this line is reached.
function again({ name }: BatteryTest): string {
  return `npm run battery -- --only ${name} --seed ${request.seed}${request.long ? ' --long' : ''}`
}

async function close(context: OpenContext, verdict: Verdict): Promise<void> {
  await context.close(verdict === 'failed' || verdict === 'broken')
}
