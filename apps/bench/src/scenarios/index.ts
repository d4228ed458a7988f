import { bulk } from './bulk.js'
import { coldStart } from './cold-start.js'
import { degrade } from './degrade.js'
import { drain } from './drain.js'
import { enqueue } from './enqueue.js'
import { growth } from './growth.js'
import { herd } from './herd.js'
import { idle } from './idle.js'
import { large } from './large.js'
import { latency } from './latency.js'
import { memory } from './memory.js'
import { mixed } from './mixed.js'
import { monitor } from './monitor.js'
import type { Scenario } from './scenario.js'
import { slow } from './slow.js'
import { telemetry } from './telemetry.js'

/** Every scenario, in the order of the report. */
export const scenarios: readonly Scenario[] = [
  ...enqueue,
  ...bulk,
  ...drain,
  ...latency,
  ...mixed,
  ...degrade,
  ...growth,
  ...slow,
  ...large,
  ...idle,
  ...herd,
  ...memory,
  ...coldStart,
  ...telemetry,
  ...monitor,
]
