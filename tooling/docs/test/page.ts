import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/** A fenced block of code, as a page shows it. */
export interface Block {
  /** The page, from the root: `README.md`. */
  readonly page: string
  /** The line of its first line of code. */
  readonly line: number
  readonly language: string
  /** What stands behind the language: `no-run: why`, or nothing. */
  readonly note: string
  readonly code: string
}

export const root = join(import.meta.dirname, '../../..')

/** Every page that shows users code, from the root. */
export function allPages(): string[] {
  const markdownIn = (folder: string) =>
    readdirSync(join(root, folder))
      .filter((name) => name.endsWith('.md'))
      .map((name) => `${folder}/${name}`)
  const packages = readdirSync(join(root, 'packages')).map((name) => `packages/${name}/README.md`)
  return ['README.md', ...markdownIn('docs'), ...packages].filter((page) => existsSync(join(root, page)))
}

/** The blocks of one page, in order. Throws when one of them has no end. */
export function blocksOf(page: string, markdown = readFileSync(join(root, page), 'utf8')): Block[] {
  const blocks: Block[] = []
  let open: { -readonly [Key in keyof Block]: Block[Key] } | undefined
  for (const [index, text] of markdown.split('\n').entries()) {
    const [, fence, language = '', note = ''] = /^\s*(```|~~~)(\S*)\s*(.*)$/.exec(text) ?? []
    if (!open && fence) open = { page, line: index + 2, language, note, code: '' }
    else if (open && fence && !language) {
      blocks.push(open)
      open = undefined
    } else if (open) open.code += `${text}\n`
  }
  if (open) throw new Error(`${page}:${open.line - 1}: this block of code has no end`)
  return blocks
}

/** The headings of a page, of one level or of all, without those that code shows. */
export const headingsOf = (markdown: string, level?: number): string[] =>
  [...withoutBlocks(markdown).matchAll(/^(#+) (.+)$/gm)]
    .filter(([, marks]) => level === undefined || marks!.length === level)
    .map(([, , text]) => text!)

/** What a page says beside its blocks of code. */
export const withoutBlocks = (markdown: string): string => markdown.replaceAll(/^```.*?^```/gms, '')

/** Where a block stands, for people and their terminals. */
export const placeOf = ({ page, line }: Pick<Block, 'page' | 'line'>): string => `${page}:${line}`
