// `npm run battery`: builds the tests with the product's sources, runs them, and counts.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { BatteryTest, Mutant } from './battery-test.js'
import { build } from './build.js'
import { type Options, readOptions } from './options.js'
import type { RunRequest, Verdict } from './run-tests.js'
import { tests } from './tests.js'

process.setMaxListeners(0)
const options = optionsOrExit()
console.log(`seed ${options.seed}${options.long ? ', long' : ''}\n`)
const verdicts = options.mutants ? await runMutants(options) : await runProduct(options)
const count = (...wanted: Verdict[]) => verdicts.filter((verdict) => wanted.includes(verdict)).length
console.log(`\n${count('passed')} passed, ${count('failed', 'broken')} failed, ${count('skipped')} skipped`)
process.exit(count('failed', 'broken') > 0 ? 1 : 0)

function optionsOrExit(): Options {
  try {
    return readOptions(process.argv.slice(2), tests)
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}. See: npm run battery -- --help`)
    process.exit(2)
  }
}

async function runProduct({ seed, long, within, chosen }: Options): Promise<Verdict[]> {
  const names = chosen.map(({ name }) => name)
  const verdicts = await run(await build('product'), { seed, long, within, names }, 'inherit')
  return names.map((name) => verdicts.get(name) ?? 'broken')
}

/** Every mutant must fail its test. Its test passes without it: that is what the ordinary run shows. */
async function runMutants({ seed, long, chosen }: Options): Promise<Verdict[]> {
  const results: Verdict[] = []
  for (const test of chosen)
    for (const mutant of test.mutants ?? []) results.push(await runMutant(test, mutant, { seed, long }))
  return results
}

async function runMutant(
  test: BatteryTest,
  mutant: Mutant,
  { seed, long }: Pick<Options, 'seed' | 'long'>,
): Promise<Verdict> {
  const result = await judgeMutant(test, mutant, { seed, long, names: [test.name] })
  const caught = result === 'caught'
  const mark = caught ? 'ok  ' : result === 'skipped' ? 'skip' : 'FAIL'
  console.log(`${mark} ${String(test.number).padStart(2)} ${test.name.padEnd(24)} ${result}: ${mutant.name}`)
  return caught ? 'passed' : result === 'skipped' ? 'skipped' : 'failed'
}

async function judgeMutant(test: BatteryTest, mutant: Mutant, request: RunRequest): Promise<string> {
  try {
    const folder = await build(`mutant-${test.name}`, mutant.patches)
    const verdict = (await run(folder, request, 'ignore')).get(test.name) ?? 'broken'
    return verdict === 'failed' ? 'caught' : verdict === 'passed' ? 'SURVIVED' : verdict
  } catch (error) {
    return `could not be built (${error instanceof Error ? error.message.split('\n').at(-1) : error})`
  }
}

/** Runs a build's tests in a process of its own, which ends with this one. */
async function run(folder: string, request: RunRequest, stdout: 'inherit' | 'ignore'): Promise<Map<string, Verdict>> {
  const verdicts = new Map<string, Verdict>()
  const child = spawn(process.execPath, [join(folder, 'run-tests.mjs'), JSON.stringify(request)], {
    stdio: ['ignore', stdout, 'inherit', 'ipc'],
  })
  child.on('message', ([name, verdict]: any) => verdicts.set(name, verdict))
  const stop = () => void child.kill('SIGTERM')
  process.once('SIGTERM', stop).once('SIGINT', stop)
  const [code, signal] = await once(child, 'close')
  if (code !== 0) console.error(`The tests ended with ${code ?? signal}.`)
  await sleep(0)
  return verdicts
}
