import { isDeepStrictEqual } from 'node:util'

/** Some of an object's properties, at any depth. */
export type PartialDeep<T> = T extends Date
  ? T
  : T extends object
    ? { readonly [Key in keyof T]?: PartialDeep<T[Key]> }
    : T

/** What the args of a job must look like: a part of them, or a function that says so. */
export type Match<Args> = PartialDeep<Args> | ((args: Args) => boolean)

/**
 * True when every property of `part` is in `value`, at any depth. Lists must be of one length, and what shows nothing in its properties (a
 * Date, a Set, a Map, as a schema may have made of the args) equal. Matchers of vitest and jest (`expect.any(String)`) may stand anywhere.
 */
export function matches(value: unknown, part: unknown): boolean {
  if (typeof part === 'function') return part(value) === true
  if (typeof part !== 'object' || part === null) return Object.is(value, part)
  if ('asymmetricMatch' in part && typeof part.asymmetricMatch === 'function') return part.asymmetricMatch(value)
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(part)) {
    return Array.isArray(value) && value.length === part.length && part.every((item, i) => matches(value[i], item))
  }
  const properties = Object.entries(part)
  if (ArrayBuffer.isView(part) || (properties.length === 0 && !isPlain(part))) return isEqual(value, part)
  return properties.every(([key, item]) => Object.hasOwn(value, key) && matches((value as any)[key], item))
}

/** Written by hand as {}, in whatever realm. */
function isPlain(part: object): boolean {
  const prototype = Object.getPrototypeOf(part)
  return prototype === null || Object.getPrototypeOf(prototype) === null
}

/** As a text, too: what a class keeps in private fields shows there, if anywhere. */
const isEqual = (value: object, part: object): boolean =>
  isDeepStrictEqual(value, part) && String(value) === String(part)
