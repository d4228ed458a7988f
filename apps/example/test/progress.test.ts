import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { showProgress } from '../src/once/progress.js'

function progress(isTTY: boolean): { text: string } {
  const output = Object.assign(new PassThrough(), { isTTY, columns: 80 })
  const written: string[] = []
  output.on('data', (text) => written.push(String(text)))
  let placed = 3
  const stop = showProgress(
    [
      { name: 'orders', total: 10, done: () => placed },
      { name: 'jobs', total: 50, done: () => 99 },
    ],
    output,
  )
  placed = 4
  stop()
  return { text: written.join('') }
}

test('in a log: plain lines, the last one with the last figures, never more than all', () => {
  expect(progress(false).text).toBe('orders 4/10   jobs 50/50\n')
})

// Mutant: the cursor hidden and not shown again.
test('on a terminal: a bar for each, and the cursor is back at the end', () => {
  const { text } = progress(true)
  expect(text).toMatch(/orders █+░+ 40% {2}4\/10/)
  expect(text).toMatch(/jobs {3}█+ 100% {2}50\/50/)
  expect(text.lastIndexOf('\x1b[?25h')).toBeGreaterThan(text.lastIndexOf('\x1b[?25l'))
})
