import { readFileSync } from 'node:fs'
import { testDatabase } from '@pgq/test-db'
import { describe, expect, test } from 'vitest'
import { pgqProgram } from '../src/program.js'
import { pgq } from './pgq-process.js'

const database = await testDatabase({ migrated: false })
const { username, password, hostname, port } = new URL(database.url)

describe('help', () => {
  test('is what it was', async () => {
    const program = pgqProgram(() => {})
    const helps = program.commands.filter((command) => command.name() !== 'help').map((one) => one.helpInformation())
    const { stdout, code } = await pgq(['--help'])
    expect(code).toBe(0)
    await expect([stdout, ...helps].join('\n')).toMatchFileSnapshot('help.txt')
    expect((await pgq(['help', 'dashboard'])).stdout).toContain('PGQ_DASHBOARD_PASSWORD')
  })

  test('names the version of the package', async () => {
    const { stdout, code } = await pgq(['--version'])
    expect(stdout).toMatch(/^\d+\.\d+\.\d+/)
    expect(code).toBe(0)
  })
})

// Mutant: a new command, or a new option, that nobody wrote about.
test('the README names every command and every option', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const { commands } = pgqProgram(() => {})
  const names = commands.flatMap((command) => [
    `pgq ${command.name()}`,
    ...command.options.map(({ long }) => long ?? ''),
  ])
  expect(names.length).toBeGreaterThan(50)
  expect(names.filter((name) => !new RegExp(`\`${name}\\b`).test(readme))).toEqual([])
})

// Nothing is connected to: there is no database here.
test.each<[string, string[], string]>([
  ['no command', [], 'Usage: pgq'],
  ['an unknown command', ['statsu'], "unknown command 'statsu'\n(Did you mean status?)"],
  ['an unknown command to explain', ['help', 'statsu'], 'statsu'],
  ['a mistyped option', ['jobs', '--limti', '3'], "unknown option '--limti'\n(Did you mean --limit?)"],
  ['an option that another command has', ['status', '--yes'], "unknown option '--yes'"],
  ['a value that is none', ['jobs', '--limit', '1e3'], 'Use a whole number from 1 on'],
  ['a state that there is not', ['cancel', '--state', 'dead'], 'Allowed choices are ready, scheduled, parked, running'],
  ['an argument too many', ['status', 'mail'], 'too many arguments'],
  ['an argument that is missing', ['pause'], "missing required argument 'queues'"],
  [
    'something to do with schedules that there is not',
    ['schedules', 'stop'],
    'Allowed choices are pause, resume, run, remove',
  ],
  [
    'schedules that nobody names',
    ['schedules', 'pause'],
    'Which schedules? Name them: pgq schedules pause <names...>.',
  ],
  [
    'something to do again and again',
    ['schedules', 'run', 'nightly', '--watch'],
    '--watch and --every-ms are for the list',
  ],
  ['no database', ['status'], 'Which database? Set DATABASE_URL'],
  [
    'jobs that nobody names',
    ['cancel'],
    'Which jobs? Name their ids, or give at least one of --queue, --task, --key, --state',
  ],
  ['a filter beside an id', ['jobs', '17', '--queue', 'mail'], '--queue is for lists'],
  ['what is no id', ['jobs', 'abc'], 'abc is no job id: ids are digits. For lists'],
  ['a version to print from, and nothing to print', ['migrate', '--from', '3'], '--from is for --print'],
  ['a pause between looks, and one look', ['status', '--every-ms', '500'], '--every-ms is for --watch: add it.'],
  ['a page of no list', ['jobs', '--after', 'x'], 'give --state'],
  ['a module that is not there', ['work', 'nowhere.js'], 'There is no file'],
  ['a folder for a module', ['work', './'], 'is a folder: name the file that exports the handlers'],
  ['no name for a module', ['work', ''], 'is a folder: name the file that exports the handlers'],
])('%s is refused with 2', async (_, args, said) => {
  const { code, stdout, stderr } = await pgq(args)
  expect(stderr).toContain(said)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
})

// Every one of them says what to do, and none prints the password.
test.each<[string, Record<string, string>, string, number]>([
  ['no server', { DATABASE_URL: `postgres://ada:secret@127.0.0.1:1/x` }, 'No PostgreSQL answers at 127.0.0.1:1', 1],
  ['no such host', { DATABASE_URL: `postgres://ada:secret@nowhere.invalid/x` }, 'nowhere.invalid:5432', 1],
  ['no such database', { DATABASE_URL: database.url.replace(/\/[^/]*$/, '/nothing') }, 'no database "nothing"', 1],
  ['no such user', { DATABASE_URL: `postgres://nobody:secret@${hostname}:${port}/${database.name}` }, '"nobody"', 1],
  ['a string that is none', { DATABASE_URL: 'postgres://ada:secret@here:99999/x' }, 'cannot be read', 2],
  ['an address of something else', { DATABASE_URL: 'http://ada:secret@here' }, 'no connection string', 2],
  ['a name alone', { DATABASE_URL: 'shop' }, 'write postgres://user:password@host:5432/database', 2],
  ['a schema that is not migrated', { DATABASE_URL: database.url }, 'Run: pgq migrate.', 1],
  ['another schema', { DATABASE_URL: database.url, PGQ_SCHEMA: 'jobs' }, 'Run: pgq migrate --schema jobs.', 1],
  ['a schema that is no name', { DATABASE_URL: database.url, PGQ_SCHEMA: 'Jobs"' }, 'Jobs', 2],
  [
    'the PG variables alone',
    { PGHOST: hostname, PGPORT: port, PGUSER: username, PGPASSWORD: password, PGDATABASE: database.name },
    `database "${database.name}". Run: pgq migrate.`,
    1,
  ],
])('%s is said with what to do', async (_, env, said, exitCode) => {
  const { code, stdout, stderr } = await pgq(['status'], { env })
  expect(stderr).toContain(said)
  expect(stderr).not.toMatch(/secret|\n {4}at /)
  expect({ code, stdout }).toEqual({ code: exitCode, stdout: '' })
})

// Mutants: commander's own words, and where to find help, beside or in place of it.
test.each([
  ['a mistyped option', ['jobs', '--limti', '3', '--json'], "unknown option '--limti'\n(Did you mean --limit?)"],
  ['an argument that is missing', ['pause', '--json'], "missing required argument 'queues'"],
  ['a filter beside an id', ['jobs', '17', '--queue', 'mail', '--json'], '--queue is for lists, and 17 names one job'],
])('a mistake is JSON too: %s', async (_, args, said) => {
  const { code, stdout, stderr } = await pgq(args)
  expect(JSON.parse(stderr)).toEqual({ error: expect.stringContaining(said) })
  expect(JSON.parse(stderr).error).not.toMatch(/^error/)
  expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
})

// Mutant: any output that cannot be written is a reader who left.
test.runIf(process.platform === 'linux')('a full disk is no reader who left', async () => {
  const { code, stderr } = await pgq(['migrate', '--print'], { stdout: '/dev/full' })
  expect(stderr).toMatch(/^pgq: The output could not be written: ENOSPC: no space left on device, write\.\n$/)
  expect(code).toBe(1)
})

test.each<[string, string[], string, string]>([
  ['a name that cannot be', ['migrate', '--schema', 'No'], database.url, 'PGQ_SCHEMA_NAME'],
  ['no schema', ['status'], database.url, 'PGQ_NOT_MIGRATED'],
  ['no server', ['status'], 'postgres://127.0.0.1:1/x', 'ECONNREFUSED'],
])('an error is JSON too, with its code: %s', async (_, args, url, code) => {
  const { stderr } = await pgq([...args, '--json'], { env: { DATABASE_URL: url } })
  expect(JSON.parse(stderr)).toEqual({ error: expect.any(String), code })
})
