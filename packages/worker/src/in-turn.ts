interface Waiting {
  readonly claim: { readonly job: { readonly queue: string; readonly priority: number } }
}

/**
 * What was claimed, behind what waits already, but before those of its queue that have a lower priority: an urgent job passes what was
 * claimed ahead of it. Queues take turns, so it passes nothing of another one.
 */
export function inTurn<Run extends Waiting>(waiting: readonly Run[], claimed: readonly Run[]): Run[] {
  const lowest = waiting.reduce((least, { claim }) => Math.min(least, claim.job.priority), Number.POSITIVE_INFINITY)
  const all = [...waiting]
  for (const run of claimed) {
    const { queue, priority } = run.claim.job
    const passed = ({ claim: { job } }: Run) => job.queue === queue && job.priority < priority
    const place = priority > lowest ? all.findIndex(passed) : -1
    all.splice(place === -1 ? all.length : place, 0, run)
  }
  return all
}
