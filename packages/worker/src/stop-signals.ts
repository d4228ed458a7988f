const SIGNALS = ['SIGTERM', 'SIGINT'] as const
const stops = new Set<() => Promise<void>>()
let signalled = false

/**
 * Calls stop on the first SIGTERM or SIGINT; a second one ends the process at once. Several workers in one process share
 * the listeners. Answers how to take it back.
 */
export function onStopSignals(stop: () => Promise<void>): () => void {
  if (stops.size === 0) for (const signal of SIGNALS) process.on(signal, stopAll)
  stops.add(stop)
  return () => {
    stops.delete(stop)
    if (stops.size > 0) return
    signalled = false
    for (const signal of SIGNALS) process.off(signal, stopAll)
  }
}

function stopAll(signal: (typeof SIGNALS)[number]): void {
  if (signalled) process.exit(signal === 'SIGINT' ? 130 : 143)
  signalled = true
  for (const stop of stops) void stop()
}
