import type { BatteryTest } from '../battery-test.js'
import { poison, poisonPill } from './poison-pill.js'

/** As the poison pill, but the process dies of its memory: slowly, and without a word. */
export const outOfMemoryPill: BatteryTest = {
  number: 10,
  name: 'out-of-memory-pill',
  mutants: poisonPill.mutants!,
  async run(context) {
    const neighbours = context.long ? 5_000 : 300
    return poison(context, 'finish', { deed: 'exhaust-memory' }, neighbours, { nodeArgs: ['--max-old-space-size=48'] })
  },
}
