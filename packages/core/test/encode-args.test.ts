import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DEFAULT_MAX_ARGS_BYTES, encodeArgs } from '../src/encode-args.js'
import {
  ArgsTooLargeError,
  claimAndDelete,
  defineTask,
  NotSerialisableError,
  storableText,
  typed,
} from '../src/index.js'
import { claimRequest, newWorker, queueDatabase } from './queue-database.js'

const database = await queueDatabase()
const work = defineTask('work', { args: typed<any>() })

// fast-check's strings: any code point but what PostgreSQL cannot store.
const text = fc.string({ unit: 'binary', maxLength: 20 }).map((string) => string.replaceAll('\0', '').toWellFormed())
const { value: json } = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 4, depthIdentifier: 'json' },
    fc.oneof(text, fc.double({ noNaN: true, noDefaultInfinity: true }), fc.integer(), fc.boolean(), fc.constant(null)),
    fc.constantFrom(-0, 5e-324, Number.MAX_VALUE, 1e21, '\u2028', '"', '\\', '\\u0000', '{', '__proto__'),
    fc.array(tie('value'), { maxLength: 5 }),
    fc.dictionary(fc.oneof(text, fc.constantFrom('__proto__', 'constructor', 'toString', '', '0')), tie('value'), {
      maxKeys: 5,
    }),
  ),
}))

// toEqual calls 0 and -0 different and knows own __proto__ keys only by their names; so compare in a form that has both.
const exactly = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(exactly)
  if (value !== null && typeof value === 'object')
    return Object.entries(value).map(([key, item]) => [key, exactly(item)])
  return Object.is(value, -0) ? 'minus zero' : value
}

describe('any JSON value', () => {
  test('comes back identical from the text', () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(exactly(JSON.parse(encodeArgs(value)))).toEqual(exactly(value))
      }),
    )
  })

  test('comes back identical from the database, through enqueueMany and a claim', async () => {
    const workerId = await newWorker(database.pool)
    const roundTrip = fc.asyncProperty(fc.array(json, { minLength: 1, maxLength: 30 }), async (values) => {
      await work.enqueueMany(
        database.pool,
        values.map((args) => ({ args })),
      )
      const claimed = await claimAndDelete(database.pool, 'pgq', claimRequest(workerId))
      expect(claimed.map(({ args }) => exactly(args))).toEqual(values.map(exactly))
    })
    await fc.assert(roundTrip, { numRuns: 60 })
  })

  test('nesting of 500 levels is carried, deeper is refused', async () => {
    const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)])
    const workerId = await newWorker(database.pool)
    await work.enqueue(database.pool, nested(501))
    const [job] = await claimAndDelete(database.pool, 'pgq', claimRequest(workerId))
    expect(job!.args).toEqual(nested(501))
    expect(() => encodeArgs(nested(502))).toThrow(NotSerialisableError)
  })
})

const cycle: { inner: Record<string, unknown> } = { inner: {} }
cycle.inner.back = cycle
const named = Object.assign([1], { extra: 2 })

const hidden = (value: object, key: PropertyKey = 'secret') =>
  Object.defineProperty(value, key, { value: 1, enumerable: false })
const failing = {
  get: () => {
    throw new Error('no')
  },
  enumerable: true,
}

const refused: [what: string, args: unknown, path: string, message: RegExp][] = [
  ['undefined', undefined, 'args', /undefined.* Pass null, or \{\}/],
  ['undefined under a key', { a: { b: undefined } }, 'args.a.b', /Leave the key out/],
  ['a BigInt', { id: 5n }, 'args.id', /bigint/],
  ['NaN', [1, [Number.NaN]], 'args[1][0]', /NaN/],
  ['Infinity', { n: Number.POSITIVE_INFINITY }, 'args.n', /Infinity/],
  ['minus Infinity', { n: Number.NEGATIVE_INFINITY }, 'args.n', /-Infinity/],
  ['a Date', { 'due at': new Date(0) }, 'args["due at"]', /Date/],
  ['a Map', { map: new Map() }, 'args.map', /Map/],
  ['a Set', [new Set()], 'args[0]', /Set/],
  ['a Buffer', { data: Buffer.from('x') }, 'args.data', /Buffer/],
  ['a RegExp', { re: /x/ }, 'args.re', /RegExp/],
  ['an Error', { error: new Error('x') }, 'args.error', /Error/],
  ['a class instance', { user: new (class User {})() }, 'args.user', /User/],
  ['an instance of a class without a name', new (class {})(), 'args', /class instance/],
  ['a boxed string', { s: Object('x') }, 'args.s', /String/],
  ['a function', { run: () => 1 }, 'args.run', /function/],
  ['a toJSON method', { toJSON: () => 1 }, 'args.toJSON', /function/],
  ['a symbol', { s: Symbol('x') }, 'args.s', /symbol/],
  ['a symbol as key', { a: { [Symbol('x')]: 1 } }, 'args.a', /symbol keys/],
  // biome-ignore lint/suspicious/noSparseArray: that is what is tested
  ['a hole', [1, , 3], 'args[1]', /undefined/],
  ['an array with a named property', { named }, 'args.named', /named properties/],
  ['a NUL', { s: 'a\0b' }, 'args.s', /NUL/],
  ['a NUL in a key', { 'a\0b': 1 }, 'args["a\\u0000b"]', /NUL/],
  ['a lone surrogate', { s: 'a\ud83d' }, 'args.s', /surrogate/],
  ['a lone surrogate in a key', { '\udc00': 1 }, 'args["\\udc00"]', /surrogate/],
  ['a cycle', cycle, '…', /cycle/],
  // Mutant: Array.isArray() is all that is asked of an array.
  ['a subclass of Array', { list: new (class List extends Array {})() }, 'args.list', /a List/],
  ['an array without a prototype', [Object.setPrototypeOf([1], null)], 'args[0]', /class instance/],
  ['an array with a hidden property', { a: hidden([1]) }, 'args.a', /named properties/],
  ['an array with a symbol as key', { a: hidden([1], Symbol('x')) }, 'args.a', /symbol keys/],
  // Mutant: only the keys that Object.keys() tells are looked at.
  ['a hidden property', { a: { b: hidden({}) } }, 'args.a.b', /hidden properties/],
  ['a hidden symbol as key', { a: hidden({}, Symbol('x')) }, 'args.a', /symbol keys/],
  // biome-ignore lint/complexity/noArguments: that is what is tested
  ['an arguments object', (function (..._: number[]) { return arguments })(1), 'args', /hidden properties/], // biome-ignore format: short
  ['a boxed number', { n: Object(1) }, 'args.n', /Number/],
  ['a toJSON of its class', { m: new (class Money { toJSON = () => 1 })() }, 'args.m', /Money/], // biome-ignore format: short
  // Mutants: what calls itself Object is taken for one; a prototype is not asked whether it is that of its constructor.
  ['a class that is called Object', runInNewContext('new (class Object {})()'), 'args', /Object/],
  ['an object on top of another', { a: Object.create({ b: 1 }) }, 'args.a', /Object/],
  ['an object on top of one of another realm', runInNewContext('Object.create({ b: 1 })'), 'args', /Object/],
  ['an array on top of one of another realm', runInNewContext('[Object.setPrototypeOf([1], [2])]'), 'args[0]', /Array/],
  ['a Date of another realm', runInNewContext('new Date(0)'), 'args', /Date/],
  ['a class instance of another realm', runInNewContext('new (class User {})()'), 'args', /User/],
  ['a getter that throws', { a: Object.defineProperty({}, 'b', failing) }, 'args.a.b', /getter/],
  ['a getter of an array that throws', { a: Object.defineProperty([1], 0, failing) }, 'args.a[0]', /getter/],
]

test.each(refused)('refuses %s and names its path', (_, args, path, message) => {
  let error: unknown
  try {
    encodeArgs(args)
  } catch (thrown) {
    error = thrown
  }
  expect(error).toBeInstanceOf(NotSerialisableError)
  expect(error).toMatchObject({ code: 'PGQ_NOT_SERIALISABLE', message: expect.stringMatching(message) })
  if (path === '…') expect((error as NotSerialisableError).path).toMatch(/^args(\.inner|\.back){20}…$/)
  else expect((error as NotSerialisableError).path).toBe(path)
})

test('whatever is not refused comes back as it went in', () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withNullPrototype: true,
    withSparseArray: true,
  })
  const property = fc.property(anything, (value) => {
    let encoded: string
    try {
      encoded = encodeArgs(value)
    } catch (error) {
      expect(error).toBeInstanceOf(NotSerialisableError)
      expect((error as NotSerialisableError).path).toMatch(/^args/)
      return
    }
    expect(exactly(JSON.parse(encoded))).toEqual(exactly(value))
  })
  fc.assert(property, { numRuns: 1_000 })
})

// As under jest, whose tests are in a realm of their own: there response.json() and structuredClone answer objects of the first.
test('plain objects and arrays of another realm are taken as they are', () => {
  const text = '{"list":[1,[{"a":null}]],"b":{}}'
  expect(encodeArgs(runInNewContext(`(${text})`))).toBe(text)
  expect(encodeArgs({ inner: runInNewContext('[1, { a: 1 }]') })).toBe('{"inner":[1,{"a":1}]}')
})

describe('the size limit', () => {
  test('is exact at the byte, in UTF-8', () => {
    expect(encodeArgs('é€😀', 11)).toBe('"é€😀"') // 2 + 3 + 4 and the quotes
    expect(() => encodeArgs('é€😀', 10)).toThrow(ArgsTooLargeError)
  })

  test('is 256 KiB by default, and the error gives both sizes', async () => {
    const fits = 'x'.repeat(DEFAULT_MAX_ARGS_BYTES - 2)
    await work.enqueue(database.pool, fits)
    const error = await work.enqueue(database.pool, `${fits}y`).catch((thrown) => thrown)
    expect(error).toMatchObject({ code: 'PGQ_ARGS_TOO_LARGE', bytes: 262_145, maxBytes: 262_144 })
    expect(await database.rows('select octet_length(args::text) as bytes from pgq.jobs')).toEqual([{ bytes: 262_144 }])
  })

  test('is a task option', async () => {
    const small = defineTask('small', { args: typed<string>(), maxArgsBytes: 5 })
    await small.enqueue(database.pool, 'abc')
    await expect(small.enqueue(database.pool, 'abcd')).rejects.toThrow('take 6 bytes as JSON; the limit is 5')
  })
})

test('storableText makes any thrown value storable, and never throws', () => {
  const hostile = { toString: () => { throw new Error('no') } } // biome-ignore format: one line
  expect(storableText(hostile, 100)).toBe('a value that cannot be shown as text')
  expect(storableText('a\0b\ud83d', 100)).toBe('a\uFFFDb\uFFFD')
  expect(storableText('😀😀', 3)).toBe('😀\uFFFD')
  fc.assert(
    fc.property(fc.anything(), fc.nat(50), (value, length) => {
      const stored = storableText(value, length)
      expect(stored.length <= length && stored.isWellFormed() && !stored.includes('\0')).toBe(true)
    }),
  )
})
