import { readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A fenced block of code, as a page shows it. */
export interface Block {
  /** The page, from the root: `README.md`. */
  readonly page: string
  /** The line of its first line of code. */
  readonly line: number
  readonly language: string
  /** What stands behind the language. */
  readonly note: string
  readonly code: string
}

export const root = join(import.meta.dirname, '../../..')

/** The blocks of one page, in order. */
export const blocksOf = (page: string, markdown = readFileSync(join(root, page), 'utf8')): Block[] =>
  [...markdown.matchAll(/^```(\S+)([^\n]*)\n(.*?)^```$/gms)].map(({ 1: language, 2: note, 3: code, index }) => ({
    page,
    line: markdown.slice(0, index).split('\n').length + 1,
    language: language!,
    note: note!.trim(),
    code: code!,
  }))
