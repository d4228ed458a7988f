import { setTimeout as sleep } from 'node:timers/promises'
import type { Stage } from '../stage.js'
import { spread } from '../statistics.js'
import { systemEntry } from '../systems/index.js'
import type { Measurement, Scenario } from './scenario.js'

const SETTLE_MS = 5_000
const LISTEN_MS = 200
const JOBS = 20

/** How many of the idle workers a single job wakes up. */
export const herd: readonly Scenario[] = [
  {
    name: 'herd',
    title: 'Ten idle workers, a process each, and one job: claims run within 0.2 s of its start',
    systems: ['pgq', 'graphile', 'pg-boss-notify'],
    columns: [{ key: 'claims', title: 'claims/job', digits: 1 }],
    run: (stage, scale) => measure(stage, scale),
  },
]

async function measure(stage: Stage, scale: number): Promise<Measurement> {
  const { claims } = systemEntry(stage.system)
  const workers = await stage.workers(Math.ceil(10 * scale))
  const runs = () => workers.reduce((sum, { last }) => sum + last.runs, 0)
  const counts = []
  for (let job = 0; job < JOBS * scale; job++) {
    await sleep((SETTLE_MS * scale) / (job === 0 ? 1 : 10))
    const before = await stage.meter.calls(claims!)
    const begun = runs()
    await stage.assistant.call('enqueueEvery', { everyMs: 0, jobs: 1 })
    await stage.reached(workers, begun + 1)
    await sleep(LISTEN_MS)
    const after = await stage.meter.calls(claims!)
    if (before !== undefined && after !== undefined) counts.push(after - before)
  }
  // The median: now and then one of them looks by itself in that moment.
  return { claims: spread(counts)?.median }
}
