import { createDatabase } from '@pgq/test-db'
import { afterAll, expect, inject, test } from 'vitest'
import { type Block, blocksOf } from './page.js'
import { typeErrors, writeProject } from './project.js'
import { runPage } from './run-page.js'
import { temporaryFolder } from './temporary-folder.js'

// Each page has one thing wrong, and what is said of it. A page that is wrong and passes would mean that the pages' own tests
// prove nothing.
const page = (language: string, code: string) => `Text.\n\n\`\`\`${language}\n${code}\n\`\`\`\n`

const worker = (handler: string) => `
import { defineTask } from '@pgq/core'
import { createWorker } from '@pgq/worker'
const task = defineTask('broken', { retry: { maxAttempts: 2, minDelayMs: 3_600_000 } })
const worker = createWorker({
  connectionString: process.env.DATABASE_URL,
  handlers: [task.handle(${handler})],
  graceMs: 0,
})
await worker.start()
await task.enqueue(pool, 1)`

const BRIEFLY = 2_000

const broken: Record<string, readonly [markdown: string, said: string, patienceMs?: number]> = {
  'code that throws': [page('ts', `throw new Error('boom')`), '4: Error: boom'],
  'a promise that nobody awaits': [page('ts', `void Promise.reject(new Error('boom'))`), '4: this ended the process'],
  'a handler that fails': [
    page('ts', worker(`() => { throw new Error('boom') }`)),
    'a job of task broken failed: boom',
  ],
  'a handler that does not end': [
    page('ts', worker('() => new Promise(() => {})')),
    'a job of task broken is still running',
    BRIEFLY,
  ],
  'a job of a task without a handler': [
    page('ts', `${worker('() => {}')}\nawait pool.query("select pgq.enqueue('typo')")`),
    'a job of task typo is still ready',
    BRIEFLY,
  ],
  'a program that fails': [page('ts', `// a.ts\nthrow new Error('boom')`) + page('sh', 'npx tsx a.ts'), '10: exit 1'],
  'a program that does not end': [
    page('ts', '// a.ts\nsetInterval(() => {}, 1_000)') + page('sh', 'npx tsx a.ts'),
    '10: this does not end',
    BRIEFLY,
  ],
  'a worker that ends': [
    page('ts', '// a.ts\nexport const createWorker = () => process.exit(3)\ncreateWorker()') +
      page('sh', 'npx tsx a.ts'),
    '11: exit 3',
  ],
  'a test that fails': [
    page('ts', `// a.test.ts\nimport test from 'node:test'\ntest('a', () => { throw new Error('boom') })`) +
      page('sh', 'npx tsx --test a.test.ts'),
    '11: exit 1',
  ],
  'a program that is not there': [page('sh', 'npx tsx b.ts'), '4: there is no b.ts on this page'],
  'a script that is not there': [page('sh', 'npm run strat'), '4: there is no npm script "strat"'],
  'a package that is not there': [page('sh', 'npm install @pgq/kore'), '4: no page can import @pgq/kore'],
  'a command that fails': [page('sh', 'true && DATABASE_URL=x false # no'), '4: exit 1'],
  'a command of ours that is wrong': [page('sh', 'npx pgq statsu'), '4: exit 2'],
  // It may have said why, and not be gone yet, when the page ends it: 2 or SIGTERM.
  'a command of ours that ends too soon': [page('sh', 'npx pgq work nowhere.ts'), '4: exit '],
  'sql that is wrong': [page('sql', 'select colour from pgq.jobs'), '4: column "colour" does not exist'],
  'sql that tells nothing': [page('sql', 'select 1; select from pgq.jobs where false'), '4: this answers no row'],
  'an output that is not printed': [
    page('ts', `console.log('this')`) + page('text', 'that'),
    '9: this was not printed',
  ],
  'a language that nobody runs': [page('js', 'boom()'), '4: nobody runs "js"'],
  'no language': [page('', 'boom()'), '4: nobody runs ""'],
  'no reason why it is not run': [page('ts no-run', 'boom()'), '4: say why'],
}

const pages = Object.entries(broken).map(([name, [markdown]]) => blocksOf(name, markdown))
const project = writeProject(temporaryFolder(), pages.flat())
const [uncompiled, unreadable, named] = [temporaryFolder(), temporaryFolder(), temporaryFolder()]
const servers: (() => Promise<void>)[] = []
afterAll(async () => void (await Promise.all(servers.map((drop) => drop()))))

test.concurrent.each(Object.keys(broken).map((name, index) => [name, pages[index]!] as const))(
  '%s',
  { timeout: 120_000 },
  async (name, blocks) => {
    const [, said, patienceMs] = broken[name]!
    const database = await createDatabase(inject('pgqAdminUrl'), { template: inject('pgqTemplate') })
    servers.push(database.drop)
    const problems = await runPage(blocks, project, database.url, patienceMs)
    expect(problems).toHaveLength(1)
    expect(problems[0]).toContain(said)
    expect(problems[0]).toMatch(new RegExp(`^${name}:`))
  },
)

test('code that does not compile', async () => {
  const blocks = [
    ...blocksOf('a.md', page('ts', `import { defineTask } from '@pgq/core'\ndefineTask('a', { mode: 'twice' })`)),
    ...blocksOf('b.md', page('ts', `export const text: string = 1`)),
    ...blocksOf('c.md', page('ts', 'export const text: string = missing')),
  ]
  const errors = [...(await typeErrors(writeProject(uncompiled, blocks))).values()].flat().join('\n')
  expect(errors).toContain('a.md:5: ')
  expect(errors).toContain(`b.md:4: Type 'number' is not assignable to type 'string'`)
  expect(errors).toContain(`c.md:4: Cannot find name 'missing'`)
})

// The compiler says no more then.
test('code that is no TypeScript', async () => {
  const blocks = blocksOf('a.md', page('ts', 'export const text = db.selectFrom('))
  const errors = [...(await typeErrors(writeProject(unreadable, blocks))).values()]
  expect(errors).toEqual([["a.md:5: ')' expected."]])
})

test('a block without an end, and two files of one name', () => {
  expect(() => blocksOf('a.md', 'Text.\n\n```ts\nboom()\n')).toThrow('a.md:3: ')
  const twice: Block[] = blocksOf('a.md', page('ts', '// a.ts') + page('ts', '// a.ts'))
  expect(() => writeProject(named, twice)).toThrow('a.md:9: there is a a.ts on this page already')
})
