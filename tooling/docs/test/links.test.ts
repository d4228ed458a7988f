import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { allPages, headingsOf, root, withoutBlocks } from './page.js'

const read = (page: string): string => readFileSync(join(root, page), 'utf8')

// Mutants: a page or a heading that was renamed, a picture that is gone.
test.each([...allPages(), 'CONTRIBUTING.md', 'apps/example/README.md'])('the links of %s lead somewhere', (page) => {
  expect(linksOf(read(page)).filter((link) => !leadsSomewhere(page, link))).toEqual([])
})

test('every page of docs/ is in its index', () => {
  const linked = linksOf(read('docs/README.md')).map((link) => relative(root, join(root, 'docs', link)))
  const others = allPages().filter((page) => page !== 'README.md' && page !== 'docs/README.md')
  expect(others.filter((page) => !linked.includes(page))).toEqual([])
})

/** Where the page leads: not what its code says, and no other sites. */
const linksOf = (markdown: string): string[] =>
  [...withoutBlocks(markdown).matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link!)
    .filter((link) => !/^[a-z]+:/.test(link))

function leadsSomewhere(page: string, link: string): boolean {
  const [path = '', anchor] = link.split('#')
  const target = path ? join(dirname(page), path) : page
  if (!existsSync(join(root, target))) return false
  return anchor === undefined || headingsOf(read(target)).map(anchorOf).includes(anchor)
}

/** As GitHub makes them. */
const anchorOf = (heading: string): string =>
  heading
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
    .replaceAll(' ', '-')
