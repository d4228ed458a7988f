import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './page.js'

/** What is to be done with a command that a page shows. */
export type Command =
  /** It names what exists; running it would be no test of the page. */
  | { readonly kind: 'fine' }
  | { readonly kind: 'wrong'; readonly why: string }
  /** A file of the page, run as a program. */
  | { readonly kind: 'program'; readonly file: string; readonly args: readonly string[] }
  | { readonly kind: 'run'; readonly command: string }
  /** It goes on until a signal ends it. */
  | { readonly kind: 'stay'; readonly command: string }

/** The commands of a block, one by one. */
export const commandsOf = (code: string): Command[] =>
  code
    .replaceAll('\\\n', ' ')
    .split(/\n|&&/)
    .map((line) => line.replace(/(^|\s)#.*$/, '').trim())
    .filter((line) => line !== '')
    .map(judge)

function judge(command: string): Command {
  const [program, verb, ...rest] = command.split(/\s+/).filter((word, index, all) => !isSetting(word, index, all))
  if (program === 'npm' && verb === 'install') return judgePackages(rest)
  if (program === 'npm' && verb === 'run') return judgeScript(rest[0] ?? '')
  if (program === 'npm' && (verb === 'start' || verb === 'test')) return judgeScript(verb)
  if (program === 'npx' && verb === 'tsx') {
    return { kind: 'program', file: rest.at(-1) ?? '', args: rest.slice(0, -1) }
  }
  if (program === 'npx' && verb === 'pgq') return judgePgq(command, rest)
  return { kind: 'run', command }
}

/** Our own command, as it was built. */
function judgePgq(command: string, [verb, ...rest]: readonly string[]): Command {
  const own = command.replace('npx pgq', `node ${join(root, 'packages/cli/bin/pgq.js')}`)
  const stays = verb === 'work' || verb === 'dashboard' || rest.includes('--watch')
  // A shell in between would keep the signal to itself.
  return stays ? { kind: 'stay', command: `exec ${own}` } : { kind: 'run', command: own }
}

/** `DATABASE_URL=... npm test`: the settings before the program. */
const isSetting = (word: string, index: number, all: readonly string[]): boolean =>
  /^[A-Z_]+=/.test(word) && all.slice(0, index).every((before) => /^[A-Z_]+=/.test(before))

function judgePackages(words: readonly string[]): Command {
  const { dependencies, devDependencies } = manifestOf('tooling/docs')
  const known = { ...dependencies, ...devDependencies }
  const unknown = words.filter((word) => !word.startsWith('-') && !Object.hasOwn(known, word))
  return unknown.length === 0 ? { kind: 'fine' } : { kind: 'wrong', why: `no page can import ${unknown.join(', ')}` }
}

function judgeScript(name: string): Command {
  const { scripts = {} } = manifestOf('.')
  return Object.hasOwn(scripts, name) ? { kind: 'fine' } : { kind: 'wrong', why: `there is no npm script "${name}"` }
}

const manifestOf = (folder: string): Record<'scripts' | 'dependencies' | 'devDependencies', object | undefined> =>
  JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
