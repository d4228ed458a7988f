import { ArgsTooLargeError, NotSerialisableError } from './errors.js'

/** Between JSON texts that travel as one: a control character, chr(31), which JSON cannot hold. */
export const SEPARATOR = '\x1f'

/** 256 KiB: enough for any sensible job; larger data belongs into a table, its id into the args. */
export const DEFAULT_MAX_ARGS_BYTES = 262_144

const MAX_DEPTH = 500

/** Of one UTF-16 unit as UTF-8. */
const MOST_BYTES = 3

/**
 * Writes args as JSON text that parses back to the same value: every key, number (-0 too) and string as it was.
 * Throws NotSerialisableError with the path of the first value that JSON would change or lose (undefined, NaN, Infinity,
 * bigint, Date, Map, class instances, functions, symbols, array holes, named properties of arrays, hidden properties, cycles, strings that
 * PostgreSQL cannot store), and ArgsTooLargeError over maxBytes (UTF-8 bytes).
 */
export function encodeArgs(args: unknown, maxBytes = DEFAULT_MAX_ARGS_BYTES): string {
  const text = write(args, { key: 'args', depth: 0 })
  if (text.length * MOST_BYTES <= maxBytes) return text
  const bytes = Buffer.byteLength(text)
  if (bytes > maxBytes) throw new ArgsTooLargeError(bytes, maxBytes)
  return text
}

/** Where we are, linked upwards: the path is put into words only when something is wrong. */
interface Place {
  readonly key: string | number
  readonly depth: number
  readonly parent?: Place
}

function write(value: unknown, place: Place): string {
  switch (typeof value) {
    case 'string':
      return writeString(value, place)
    case 'number':
      return writeNumber(value, place)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'object':
      if (value === null) return 'null'
      if (place.depth > MAX_DEPTH) throw refuse(place, `nested deeper than ${MAX_DEPTH} levels (or part of a cycle)`)
      return Array.isArray(value) ? writeArray(value, place) : writeObject(value, place)
    case 'undefined':
      throw refuse(place, 'undefined')
    default:
      throw refuse(place, `a ${typeof value}`)
  }
}

function writeString(value: string, place: Place): string {
  if (value.includes('\0')) throw refuse(place, 'a string with a NUL character')
  if (!value.isWellFormed()) throw refuse(place, 'a string with a lone surrogate (half of a character)')
  return JSON.stringify(value)
}

function writeNumber(value: number, place: Place): string {
  if (!Number.isFinite(value)) throw refuse(place, String(value))
  return Object.is(value, -0) ? '-0' : String(value)
}

function writeArray(value: readonly unknown[], parent: Place): string {
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Array.prototype && !isOtherRealms(prototype, 'Array'))
    throw refuse(parent, `a ${className(prototype)}`)
  const items: string[] = []
  for (let index = 0; index < value.length; index++) {
    const place = { key: index, depth: parent.depth + 1, parent }
    items.push(write(read(value, index, place), place))
  }
  // Its length is a property, too.
  if (hasOthers(value, value.length + 1)) throw refuse(parent, 'an array with named properties or symbol keys')
  return `[${items.join(',')}]`
}

function writeObject(value: object, parent: Place): string {
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null && !isOtherRealms(prototype, 'Object'))
    throw refuse(parent, `a ${className(prototype)}`)
  const keys = Object.keys(value)
  if (hasOthers(value, keys.length)) throw refuse(parent, 'an object with hidden properties or symbol keys')
  const entries: string[] = []
  for (const key of keys) {
    const place = { key, depth: parent.depth + 1, parent }
    entries.push(`${writeString(key, place)}:${write(read(value, key, place), place)}`)
  }
  return `{${entries.join(',')}}`
}

/**
 * Whether it is the Object.prototype or Array.prototype of another realm: jest runs tests in one of their own, and what Node makes there
 * (response.json(), structuredClone) is of the first. No class can have a constructor with this source.
 */
function isOtherRealms(prototype: { constructor?: unknown } | null, name: 'Object' | 'Array'): boolean {
  const made = prototype?.constructor
  return (
    typeof made === 'function' &&
    made.prototype === prototype &&
    Function.prototype.toString.call(made) === `function ${name}() { [native code] }`
  )
}

/** Whether it has more own keys than were counted. Reflect.ownKeys would take a quarter of all the time here. */
const hasOthers = (value: object, counted: number): boolean =>
  Object.getOwnPropertyNames(value).length !== counted || Object.getOwnPropertySymbols(value).length > 0

function read(value: object, key: string | number, place: Place): unknown {
  try {
    return value[key as keyof typeof value]
  } catch (cause) {
    throw refuse(place, 'a getter that throws', cause)
  }
}

const className = (prototype: { constructor?: { name?: string } } | null): string =>
  prototype?.constructor?.name || 'class instance'

const refuse = (place: Place, what: string, cause?: unknown) =>
  new NotSerialisableError(pathOf(place), what, cause === undefined ? undefined : { cause })

/** A very deep one is told by where it begins. */
function pathOf(place: Place): string {
  const steps: string[] = []
  for (let at: Place | undefined = place; at; at = at.parent) if (at.depth <= 20) steps.unshift(stepOf(at))
  return place.depth > 20 ? `${steps.join('')}…` : steps.join('')
}

function stepOf({ key, parent }: Place): string {
  if (!parent) return String(key)
  if (typeof key === 'number') return `[${key}]`
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`
}

/**
 * Makes any thrown text storable: NUL and lone surrogates, which PostgreSQL refuses, become U+FFFD, and length is
 * bounded. Never throws: it serves the error path.
 */
export function storableText(text: unknown, maxLength: number): string {
  const string = typeof text === 'string' ? text : safeString(text)
  return string.slice(0, maxLength).replaceAll('\0', '\uFFFD').toWellFormed()
}

function safeString(value: unknown): string {
  try {
    return String(value)
  } catch {
    return 'a value that cannot be shown as text'
  }
}
