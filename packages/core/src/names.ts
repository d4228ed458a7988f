import { InvalidOptionError } from './errors.js'
import { shown } from './option-names.js'

/** The schema that pgq lives in unless another is named. */
export const DEFAULT_SCHEMA = 'pgq'

/** Returns the name when it is safe to use in SQL and short enough for channel names; else throws InvalidOptionError. */
export function checkSchemaName(schema: string): string {
  if (typeof schema === 'string' && /^[a-z_][a-z0-9_]{0,47}$/.test(schema)) return schema
  throw new InvalidOptionError(
    `schema ${shown(schema)} is not allowed: use 1 to 48 lower-case letters, digits and underscores, not starting with a digit.`,
  )
}

/** Names of queues, tasks and schedules, and keys: 1 to 200 characters that PostgreSQL can store. */
export function checkName(name: unknown, what: 'queue' | 'task' | 'schedule' | 'key'): asserts name is string {
  if (typeof name === 'string' && name.length > 0 && name.length <= 200 && !name.includes('\0') && name.isWellFormed())
    return
  const named = what === 'key' ? 'key' : `${what} name`
  throw new InvalidOptionError(`The ${named} ${shown(name)} is not allowed: use a text of 1 to 200 characters.`)
}

/** Priorities are a smallint: -32,768 to 32,767. */
export function checkPriority(priority: unknown, where: string): void {
  if (Number.isInteger(priority) && Math.abs((priority as number) + 0.5) <= 32_767.5) return
  throw new InvalidOptionError(`${where}: priority is ${shown(priority)}; use a whole number from -32768 to 32767.`)
}
