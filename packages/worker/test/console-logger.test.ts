import { expect, test, vi } from 'vitest'
import { consoleLogger } from '../src/index.js'

/** What it writes, without the time. */
function written(log: () => void): string {
  const write = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    log()
    return write.mock.calls.map(([line]) => String(line).replace(/^\d\d:\d\d:\d\d\.\d{3} /, '')).join('')
  } finally {
    write.mockRestore()
  }
}

test('a line each, with the fields, and the stack of an error below', () => {
  const err = Object.assign(new Error('no'), { stack: 'Error: no\n    at here' })
  const fields = { jobId: '7', task: 'send-mail', tasks: ['a', 'b'], durationMs: 1.26, note: 'two words' }
  expect(written(() => consoleLogger().warn({ ...fields, err }, 'job runs again'))).toBe(
    'WARN job runs again jobId=7 task=send-mail tasks=a,b durationMs=1.3 note="two words"\nError: no\n    at here\n',
  )
  expect(written(() => consoleLogger().error({ err: 'thrown' }, 'job is dead'))).toBe('ERROR job is dead\nthrown\n')
})

test.each([
  [undefined, 'INFO WARN ERROR'],
  ['debug', 'DEBUG INFO WARN ERROR'],
  ['error', 'ERROR'],
] as const)('at level %s', (level, told) => {
  const log = consoleLogger(level)
  const all = () => (['debug', 'info', 'warn', 'error'] as const).map((method) => log[method]({}, 'x'))
  expect(written(all)).toBe(
    told
      .split(' ')
      .map((name) => `${name} x\n`)
      .join(''),
  )
})

// Mutant: texts as they are: what somebody enqueued moves the cursor of whoever looks at the log.
test('control characters do nothing to a terminal', () => {
  const hostile = '\u001b[2J\r\u009b31m\u0007'
  const err = Object.assign(new Error('x'), { stack: hostile })
  const line = written(() => consoleLogger().warn({ queue: hostile, err }, 'x'))
  expect([...line].filter((char) => char !== '\n' && /\p{Cc}/u.test(char))).toEqual([])
  expect(line.split('\n')[1]).toBe('[2J31m')
})
