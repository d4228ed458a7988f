import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for ms, or until the signal aborts. Never rejects. */
export const delay = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => {})
