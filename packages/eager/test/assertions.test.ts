import { AssertionError } from 'node:assert'
import { defineTask, typed } from '@pgq/core'
import { beforeEach, describe, expect, test } from 'vitest'
import { eagerQueue } from '../src/index.js'
import { matches } from '../src/matches.js'

interface Mail {
  readonly to: string
  readonly parts?: readonly { readonly type: string; readonly size: number }[]
  readonly sent?: null
}
const mail = defineTask('mail', { args: typed<Mail>() })
const invoice = defineTask('invoice', { args: typed<{ orderId: string }>() })
const queue = eagerQueue({ handlers: [mail.handle(() => {}), invoice.handle(() => {})], mode: 'manual' })

beforeEach(async () => {
  queue.clear()
  await mail.enqueueMany(queue, [
    { args: { to: 'ada@example.com', parts: [{ type: 'text', size: 3 }] } },
    { args: { to: 'bob@example.com', sent: null } },
  ])
  await invoice.enqueue(queue, { orderId: '17' })
})

describe('enqueued', () => {
  test('answers the jobs of a task, by definition or by name, in their order', () => {
    expect(queue.enqueued(mail).map(({ args }) => args.to)).toEqual(['ada@example.com', 'bob@example.com'])
    expect(queue.enqueued('mail')).toEqual(queue.enqueued(mail))
    expect(queue.enqueued('none')).toEqual([])
  })

  test('only those with these args: a part of them, or what a function says', () => {
    expect(queue.enqueued(mail, { to: 'bob@example.com' })).toHaveLength(1)
    expect(queue.enqueued(mail, { parts: [{ type: 'text' }] })).toHaveLength(1)
    expect(queue.enqueued(mail, {})).toHaveLength(2)
    expect(queue.enqueued(mail, ({ to }) => to.startsWith('a'))).toHaveLength(1)
    expect(queue.enqueued(mail, { to: expect.stringContaining('@example.com') })).toHaveLength(2)
    expect(queue.enqueued(mail, { to: 'carl@example.com' })).toEqual([])
  })

  test('also after they ran', async () => {
    await queue.drain()
    expect(queue.enqueued(invoice, { orderId: '17' })).toMatchObject([{ state: 'completed', attempts: 1 }])
  })
})

describe('assertEnqueued', () => {
  const failure = (assert: () => unknown): AssertionError => {
    try {
      assert()
    } catch (error) {
      return error as AssertionError
    }
    throw new Error('It did not throw.')
  }

  test('answers what it found', () => {
    expect(queue.assertEnqueued(invoice, { orderId: '17' })[0]!.args.orderId).toBe('17')
    expect(queue.assertEnqueued('mail')).toHaveLength(2)
  })

  test('says what it looked for and what there is, jobs of the same task first', () => {
    const error = failure(() => queue.assertEnqueued(invoice, { orderId: '18' }))
    expect(error).toBeInstanceOf(AssertionError)
    expect(error.message).toBe(
      [
        `No job of task "invoice" was enqueued with args that match { orderId: '18' }. Enqueued were:`,
        "  invoice { orderId: '17' } (waiting)",
        "  mail { to: 'ada@example.com', parts: [ { type: 'text', size: 3 } ] } (waiting)",
        "  mail { to: 'bob@example.com', sent: null } (waiting)",
      ].join('\n'),
    )
  })

  test('says when there is nothing at all', () => {
    queue.clear()
    expect(failure(() => queue.assertEnqueued('mail')).message).toBe(
      'No job of task "mail" was enqueued. Nothing was enqueued.',
    )
  })

  test('lists no more than 20', async () => {
    queue.clear()
    await invoice.enqueueMany(
      queue,
      Array.from({ length: 23 }, (_, n) => ({ args: { orderId: String(n) } })),
    )
    const lines = failure(() => queue.assertEnqueued(mail)).message.split('\n')
    expect(lines).toHaveLength(22)
    expect(lines.at(-1)).toBe('  ... and 3 more')
  })

  test('points at the line of the test', () => {
    const error = failure(() => queue.assertEnqueued(mail, { to: 'nobody' }))
    expect(error.stack!.split('\n').find((line) => line.trim().startsWith('at '))).toContain('assertions.test.ts')
  })
})

describe('matching', () => {
  class Price {
    readonly #cents: number
    constructor(cents: number) {
      this.#cents = cents
    }
    toString() {
      return `${this.#cents} cents`
    }
  }
  const same: [unknown, unknown][] = [
    [1, 1],
    ['', ''],
    [null, null],
    [-0, -0],
    [{ a: 1, b: 2 }, { a: 1 }],
    [{ a: { b: { c: 1, d: 2 } } }, { a: { b: { c: 1 } } }],
    [
      [1, { a: 1, b: 2 }],
      [1, { a: 1 }],
    ],
    [new Date(5), new Date(5)],
    [{ any: 'thing' }, {}],
    [[1], expect.arrayContaining([1])],
    [{ id: 7 }, { id: expect.any(Number) }],
    [{ n: 5 }, { n: (n: number) => n > 4 }],
    [{ tags: new Set(['a']), n: 1 }, { tags: new Set(['a']) }],
    [new Map([['a', { b: 1 }]]), new Map([['a', { b: 1 }]])],
    [new URL('https://a.example'), new URL('https://a.example')],
    [/a/g, /a/g],
    [new Price(5), new Price(5)],
    [
      { a: 1, b: 2 },
      new (class {
        a = 1
      })(),
    ],
    [{ a: 1 }, Object.assign(Object.create(null), { a: 1 })],
  ]
  test.each(same)('%j has %j', (value, part) => expect(matches(value, part)).toBe(true))

  // Mutants: == for Object.is; a list that is a beginning; a property of the prototype; a truthy answer; what has no properties
  // matches everything.
  const different: [unknown, unknown][] = [
    [1, '1'],
    [0, -0],
    [null, {}],
    [undefined, null],
    ['text', {}],
    [{ a: 1 }, { b: undefined }],
    [{ a: 1 }, { a: { b: 1 } }],
    [[1, 2], [1]],
    [[1], [1, 2]],
    [{ 0: 1, length: 1 }, [1]],
    [new Date(5), new Date(6)],
    [{ getTime: 1 }, new Date(5)],
    [{}, { toString: Object.prototype.toString }],
    [{ n: 5 }, { n: () => 'yes' }],
    [new Set(['a']), new Set(['b'])],
    [{ tags: ['a'] }, { tags: new Set(['b']) }],
    [new Map([['a', 1]]), new Map([['a', 2]])],
    [{}, new Map([['a', 1]])],
    [/a/, /b/],
    [new URL('https://a.example'), new URL('https://b.example')],
    [new Error('a'), new Error('b')],
    [{}, Promise.resolve(1)],
    [new Uint8Array([1, 2]), new Uint8Array([1])],
    [new Price(5), new Price(6)],
    [{ id: '7' }, { id: expect.any(Number) }],
  ]
  test.each(different)('%j has not %j', (value, part) => expect(matches(value, part)).toBe(false))
})
