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

/** Whether it is an Error; a proxy that does not tell is none. */
export function isError(thrown: unknown): boolean {
  try {
    return thrown instanceof Error
  } catch {
    return false
  }
}
