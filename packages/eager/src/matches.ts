/** Some of an object's properties, at any depth. */
export type PartialDeep<T> = T extends Date
  ? T
  : T extends object
    ? { readonly [Key in keyof T]?: PartialDeep<T[Key]> }
    : T

/** What the args of a job must look like: a part of them, or a function that says so. */
export type Match<Args> = PartialDeep<Args> | ((args: Args) => boolean)

/**
 * True when every property of `part` is in `value`, at any depth. Lists must be of one length. Matchers of vitest and jest
 * (`expect.any(String)`) may stand anywhere.
 */
export function matches(value: unknown, part: unknown): boolean {
  if (typeof part === 'function') return part(value) === true
  if (typeof part !== 'object' || part === null) return Object.is(value, part)
  if ('asymmetricMatch' in part && typeof part.asymmetricMatch === 'function') return part.asymmetricMatch(value)
  if (typeof value !== 'object' || value === null) return false
  if (part instanceof Date) return value instanceof Date && value.getTime() === part.getTime()
  if (Array.isArray(part)) {
    return Array.isArray(value) && value.length === part.length && part.every((item, i) => matches(value[i], item))
  }
  return Object.entries(part).every(([key, item]) => Object.hasOwn(value, key) && matches((value as any)[key], item))
}
