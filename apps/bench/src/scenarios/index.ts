import { bulk } from './bulk.js'
import { drain } from './drain.js'
import { enqueue } from './enqueue.js'
import { latency } from './latency.js'
import type { Scenario } from './scenario.js'

/** Every scenario, in the order of the report. */
export const scenarios: readonly Scenario[] = [...enqueue, ...bulk, ...drain, ...latency]
