import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { readOptions } from '../src/options.js'
import { tests } from '../src/tests.js'

const own = fileURLToPath(new URL('..', import.meta.url))

/** Runs it as `npm run battery` does. */
async function battery(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const command = ['--import', 'tsx', 'src/main.ts', ...args]
  return promisify(execFile)(process.execPath, command, { cwd: own }).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    ({ code, stdout, stderr }) => ({ code, stdout, stderr }),
  )
}

test('numbers and names are each given once, in order', () => {
  const numbers = tests.map(({ number }) => number)
  expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  expect(new Set(tests.map(({ name }) => name)).size).toBe(tests.length)
})

test('the README tells of every test and of every mutant', () => {
  const readme = readFileSync(`${own}README.md`, 'utf8')
  for (const { number, name, mutants = [] } of tests) {
    const row = readme.split('\n').find((line) => line.startsWith(`| ${number} | ${name} |`)) ?? ''
    expect.soft(row, `row of ${name}`).not.toBe('')
    for (const mutant of mutants) expect.soft(row, name).toContain(mutant.name)
  }
})

// Patches name lines of the product's sources: whoever changes those learns here which mutants are out of date.
test('every mutant fits the sources', () => {
  const root = fileURLToPath(new URL('../../../', import.meta.url))
  for (const { name, mutants = [] } of tests) {
    for (const { file, find } of mutants.flatMap(({ patches }) => patches)) {
      expect.soft(readFileSync(root + file, 'utf8').split(find).length - 1, `${name}: ${find} in ${file}`).toBe(1)
    }
  }
})

test('runs what it is told, and counts', { timeout: 60_000 }, async () => {
  const { code, stdout } = await battery('--seed', '7', '--only', 'claim-vs-death')
  expect(stdout).toMatch(/^seed 7\n\nok +12 claim-vs-death .*\n\n1 passed, 0 failed, 0 skipped\n$/)
  expect(code).toBe(0)
})

test('skips what has not begun in time, and says so', { timeout: 60_000 }, async () => {
  const { code, stdout } = await battery('--only', 'claim-vs-death', '--within', '0')
  expect(stdout).toMatch(
    /\nskip 12 claim-vs-death +there was no time left for it .*\n\n0 passed, 0 failed, 1 skipped\n$/,
  )
  expect(code).toBe(0)
})

test.for([
  [['--only', 'nothing'], /there is no test "nothing"; there are: kill9-transactional, /],
  [['--seed', 'seven'], /--seed seven is no whole number/],
  [['--within', 'soon'], /--within soon is no number/],
  [['--quick'], /Unknown option `--quick`/],
  [['long'], /Unused args: `long`/],
] as const)('%j is refused', ([args, message]) => {
  expect(() => readOptions([...args], tests)).toThrow(message)
})

test('what is refused is said, with code 2', async () => {
  const { code, stderr } = await battery('--quick')
  expect(stderr).toBe('Unknown option `--quick`. See: npm run battery -- --help\n')
  expect(code).toBe(2)
})
