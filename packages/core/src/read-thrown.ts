import { types } from 'node:util'

/**
 * Reads a property of whatever a handler threw. A getter or a proxy that throws in turn answers nothing: a failure that is
 * hard to describe must be recorded like any other.
 */
export function readThrown(thrown: unknown, key: PropertyKey): unknown {
  try {
    return (thrown as Record<PropertyKey, unknown> | null | undefined)?.[key]
  } catch {
    return undefined
  }
}

/** Whether it is an Error, of another realm too: under jest those of Node itself are. A proxy that does not tell is none. */
export function isError(thrown: unknown): thrown is Error {
  try {
    return types.isNativeError(thrown) || thrown instanceof Error
  } catch {
    return false
  }
}
