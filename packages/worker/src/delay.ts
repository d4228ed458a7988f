import { setTimeout as sleep } from 'node:timers/promises'

/** Waits for ms, or until the signal aborts. Never rejects. */
export const delay = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal }).catch(() => {})

/** True when the work ended within ms, well or not; false when it goes on. */
export async function endsWithin(ms: number, work: Promise<unknown>): Promise<boolean> {
  const ended = new AbortController()
  const end = () => ended.abort()
  await Promise.race([work.then(end, end), delay(ms, ended.signal)])
  return ended.signal.aborted
}
