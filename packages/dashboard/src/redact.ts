import { InvalidOptionError } from '@pgq/core'
import type { Permission } from './permissions.js'

const REDACTED = '[redacted]'

/** The keys of a path, one by one. */
type Pattern = readonly string[]

/**
 * A function that hides what is at the paths: `card.number`; `*` stands for any one key or index, `**` for any number of them, at
 * the end for all that is there. Throws InvalidOptionError for a path that could hide nothing.
 */
export function redactor(paths: readonly string[]): (args: unknown) => unknown {
  const patterns = paths.map(patternOf)
  return (args) => redact(args, patterns)
}

/** Who searches learns what is there: only who sees all args may. */
export const maySearchArgs = (permissions: readonly Permission[], paths: readonly string[]): boolean =>
  permissions.includes('view-args') && paths.length === 0

function patternOf(path: string): Pattern {
  const keys = typeof path === 'string' ? path.split('.') : ['']
  if (keys.includes('')) {
    throw new InvalidOptionError(
      `redact holds ${JSON.stringify(path)}; use paths such as 'card.number', '**.password', or '**' for all.`,
    )
  }
  // None is any number, too: what ends in ** hides the place before it, and so all below.
  return keys.slice(0, keys.findLastIndex((key) => key !== '**') + 1)
}

/** An empty pattern says that this is it. */
function redact(value: unknown, patterns: readonly Pattern[]): unknown {
  if (patterns.some((pattern) => pattern.length === 0)) return REDACTED
  if (patterns.length === 0 || typeof value !== 'object' || value === null) return value
  const below = (key: string, item: unknown) =>
    redact(
      item,
      patterns.flatMap((pattern) => restsAfter(key, pattern)),
    )
  if (Array.isArray(value)) return value.map((item, index) => below(String(index), item))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, below(key, item)]))
}

/** What is left to match below `key`. */
function restsAfter(key: string, [first, ...rest]: Pattern): Pattern[] {
  if (first === undefined) return []
  if (first === '**') return [[first, ...rest], ...restsAfter(key, rest)]
  return first === '*' || first === key ? [rest] : []
}
