import type { Permission } from './permissions.js'

const REDACTED = '[redacted]'

/** A function that hides what is at the paths: `card.number`; `*` stands for any one key or index, `**` for any number of them. */
export function redactor(paths: readonly string[]): (args: unknown) => unknown {
  const patterns = paths.map((path) => path.split('.'))
  return patterns.length > 0 ? (args) => redact(args, patterns) : (args) => args
}

/** Who searches learns what is there: only who sees all args may. */
export const maySearchArgs = (permissions: readonly Permission[], paths: readonly string[]): boolean =>
  permissions.includes('view-args') && paths.length === 0

function redact(value: unknown, patterns: readonly string[][]): unknown {
  if (patterns.length === 0 || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item, index) => redactAt(String(index), item, patterns))
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, redactAt(key, item, patterns)]))
}

function redactAt(key: string, value: unknown, patterns: readonly string[][]): unknown {
  const rest = patterns.flatMap((pattern) => restsAfter(key, pattern))
  return rest.some((pattern) => pattern.length === 0) ? REDACTED : redact(value, rest)
}

/** What is left to match below `key`; an empty one says that this is it. */
function restsAfter(key: string, [first, ...rest]: readonly string[]): string[][] {
  if (first === undefined) return []
  if (first === '**') return [[first, ...rest], ...restsAfter(key, rest)]
  return first === '*' || first === key ? [rest] : []
}
