import type { BatteryTest } from './battery-test.js'
import { claimVsDeath } from './tests/claim-vs-death.js'
import { crashLatency } from './tests/crash-latency.js'
import { kill9AtLeastOnce } from './tests/kill9-at-least-once.js'
import { kill9Transactional } from './tests/kill9-transactional.js'
import { outOfMemoryPill } from './tests/out-of-memory-pill.js'
import { poisonPill } from './tests/poison-pill.js'
import { rescueVsSettle } from './tests/rescue-vs-settle.js'
import { sameHostAndPid } from './tests/same-host-and-pid.js'
import { serverCrash } from './tests/server-crash.js'
import { serverRestart } from './tests/server-restart.js'
import { sigstop } from './tests/sigstop.js'
import { terminateBackend } from './tests/terminate-backend.js'
import { zombieStatement } from './tests/zombie-statement.js'

/** The battery, in the order of its numbers. */
export const tests: readonly BatteryTest[] = [
  kill9Transactional,
  kill9AtLeastOnce,
  serverCrash,
  sigstop,
  terminateBackend,
  zombieStatement,
  crashLatency,
  poisonPill,
  outOfMemoryPill,
  rescueVsSettle,
  claimVsDeath,
  serverRestart,
  sameHostAndPid,
]
